"""Who the users are and what they choose.

Axes: U users, I items, K = 3 pure kinds in the order of `KINDS`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.data.demo.attributes import ItemAttributes, description_affinity, looks_affinity
from training.data.demo.plan import DemoPlan

KINDS = ("looks", "description", "crowd")
MIXTURE = "mixture"
MODALITY_OF_KIND = {"looks": "visual", "description": "textual", "crowd": "behaviour"}
"""The evidence that a pure user of the kind acts on."""
BLOCK_CELLS = 4_000_000
FIRST_DAY = 1_704_067_200  # 2024-01-01 in UTC
DAY = 86_400


@dataclass(frozen=True)
class DemoUsers:
    """The planted users."""

    kind: NDArray[np.int64]
    """(U,) index into `KINDS`, len(KINDS) for a mixture."""
    weights: NDArray[np.float64]
    """(U, K) how much each of the three affinities counts, summing to 1."""
    taste: NDArray[np.int64]
    """(U, K) the taste in looks, the taste in descriptions, the community."""


@dataclass(frozen=True)
class Choices:
    """What users chose, in the order of choosing: user u has the slice offsets[u]:offsets[u + 1]."""

    offsets: NDArray[np.int64]
    item_row: NDArray[np.int64]
    timestamp: NDArray[np.int64]
    """Seconds since the epoch, strictly rising within a user."""


def affinities(items: ItemAttributes) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return for each of `KINDS` the (T, I) affinities of all its tastes."""
    return looks_affinity(items), description_affinity(items), items.standing


def draw_users(plan: DemoPlan, items: ItemAttributes) -> DemoUsers:
    """Draw kinds, weights and tastes; a mixture's weights are never close to a pure kind's."""
    generator = plan.generator("users")
    pure = (plan.looks_share, plan.description_share, plan.crowd_share)
    kind = generator.choice(len(KINDS) + 1, size=plan.n_users, p=[*pure, 1 - sum(pure)])
    mixtures = generator.dirichlet([4.0] * len(KINDS), size=plan.n_users)
    weights = np.where((kind == len(KINDS))[:, None], mixtures, np.eye(len(KINDS) + 1)[kind, : len(KINDS)])
    taste = np.stack([generator.integers(len(table), size=plan.n_users) for table in affinities(items)], axis=1)
    return DemoUsers(kind, weights, taste)


def draw_choices(plan: DemoPlan, items: ItemAttributes, users: DemoUsers) -> Choices:
    """Draw every user's choices one after another, without replacement, and their times."""
    generator = plan.generator("choices")
    tables = affinities(items)
    size = np.exp(np.log(plan.choices_median) + plan.choices_spread * generator.standard_normal(plan.n_users))
    most = min(plan.most_choices, plan.n_items // 3)
    counts = np.clip(np.rint(size), min(plan.fewest_choices, most), most).astype(np.int64)
    block = max(1, BLOCK_CELLS // plan.n_items)
    chosen = [
        _choose(plan, items, users, tables, counts, slice(start, start + block), generator)
        for start in range(0, plan.n_users, block)
    ]
    offsets = np.append(0, np.cumsum(counts))
    return Choices(offsets, np.concatenate(chosen), _draw_times(plan, counts))


def _choose(
    plan: DemoPlan,
    items: ItemAttributes,
    users: DemoUsers,
    tables: tuple[NDArray[np.float64], ...],
    counts: NDArray[np.int64],
    block: slice,
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    weights, taste, counts = users.weights[block], users.taste[block], counts[block]
    norm = np.sqrt((weights**2).sum(axis=1))  # keeps the affinity of mixtures at variance 1
    affinity = sum((weights[:, kind] / norm)[:, None] * table[taste[:, kind]] for kind, table in enumerate(tables))
    by_taste = items.popularity * np.exp(plan.strength * affinity)
    by_exposure = np.broadcast_to(items.popularity, by_taste.shape).copy()
    chosen = np.zeros((len(counts), int(counts.max())), dtype=np.int64)
    for step in range(chosen.shape[1]):
        active = np.flatnonzero(counts > step)
        at_random = generator.random(len(active)) < plan.noise
        heap = np.where(at_random[:, None], by_exposure[active], by_taste[active]).cumsum(axis=1)
        total = heap[:, -1]
        mark = np.minimum(generator.random(len(active)) * total, np.nextafter(total, 0))
        item_row = (heap <= mark[:, None]).sum(axis=1)
        chosen[active, step] = item_row
        by_taste[active, item_row] = 0
        by_exposure[active, item_row] = 0
    return chosen[np.arange(chosen.shape[1]) < counts[:, None]]


def _draw_times(plan: DemoPlan, counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Users arrive over two years and come back after days, exponentially distributed."""
    generator = plan.generator("times")
    start = FIRST_DAY + generator.integers(730 * DAY, size=len(counts))
    gaps = 60 + np.floor(generator.exponential(6 * DAY, size=int(counts.sum()))).astype(np.int64)
    total = np.cumsum(gaps)
    first = np.append(0, np.cumsum(counts)[:-1])
    times: NDArray[np.int64] = np.repeat(start - total[first], counts) + total
    return times
