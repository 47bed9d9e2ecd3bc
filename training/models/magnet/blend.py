"""The item-item evidence beside the base: its closed form, and the weight that ranks validation best.

Axes: `U` users, `I` items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict

import numpy as np
from scipy import sparse

from training.data.splits import Split
from training.evaluation.metrics import ndcg_at, recall_at
from training.evaluation.ranking import rank_positives
from training.fit.run import Run
from training.models.closed_form import ClosedFormSettings, fit_closed_form, why_off
from training.models.closed_form_search import choose
from training.models.item_item import ItemItem
from training.models.magnet.config import MagnetConfig
from training.models.magnet.frozen import FrozenBase
from training.models.magnet.material import MOST_USERS

FIRST_BLEND = 2.0
"""Where the search for the item-item term's weight starts."""


def choose_closed_form(
    split: Split, content: Mapping[str, sparse.csr_array], config: MagnetConfig, run: Run
) -> ClosedFormSettings | None:
    """λ and the content prior of the item-item model, by validation; None where the term is off or too large."""
    if not config.item_item.enabled or why_off(split.train.shape[1]):
        return None
    with run.bar("closed form", 1) as advance:
        found = run.kept(
            "closed-form", lambda: asdict(choose(split.train, split.valid, content, seed=run.seed, device=run.device))
        )
        settings = ClosedFormSettings(**found)
        advance(f"λ {settings.reg:.0f}")
    return settings


def item_item(
    train: sparse.csr_array,
    content: Mapping[str, sparse.csr_array],
    settings: ClosedFormSettings | None,
    config: MagnetConfig,
    run: Run,
) -> ItemItem | None:
    """The item-item model of these interactions."""
    if settings is None:
        return None
    return fit_closed_form(train, content, settings, per_row=config.item_item.neighbours, device=run.device)


def choose_blend(base: FrozenBase, histories: sparse.csr_array, term: ItemItem | None, split: Split) -> float:
    """The weight of the item-item term that ranks validation best beside the base."""
    if term is None:
        return 0.0
    users, candidates = base.users(histories), base.candidates
    total = term.matrix()
    rows = np.flatnonzero(np.diff(split.valid.indptr)).astype(np.int64)
    rows = rows[:: max(1, len(rows) // MOST_USERS)]
    positives = split.valid[rows]

    def quality(weight: float) -> float:
        ranks = rank_positives(
            lambda block: users[block] @ candidates.T + weight * (histories[block] @ total).toarray(),
            positives,
            split.train,
            rows,
        )
        return float((recall_at(20, ranks, positives.indptr) + ndcg_at(20, ranks, positives.indptr)).mean())

    return best_weight(quality)


def best_weight(quality: Callable[[float], float], first: float = FIRST_BLEND) -> float:
    """The non-negative weight of highest quality, to within √2: doubling or halving from `first`, then between.

    How large the term's values are depends on the data, so no fixed grid would do.
    """
    tried = {weight: quality(weight) for weight in (0.0, first)}
    for factor in (2.0, 0.5):
        weight, worse = first * factor, 0
        while worse < 2 and 1e-3 < weight < 1e4:
            tried[weight] = quality(weight)
            worse = 0 if tried[weight] >= max(tried.values()) else worse + 1
            weight *= factor
    best = max(tried, key=tried.__getitem__)
    tried |= {weight: quality(weight) for weight in (best / 2**0.5, best * 2**0.5) if best}
    return max(tried, key=tried.__getitem__)
