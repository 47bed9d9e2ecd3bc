"""How deep candidates have to be drawn, and what that finds: for known and new users, filtered and steered answers.

Axes: `I` items, `T` terms, `M` modalities, `S` steerings. Any scoring kind; nothing here knows a model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_store.draft import SnapshotDraft
from model_store.manifest import STEERED_FACTORS, Candidates
from model_store.scoring import Scorer, UserState

DEPTHS = (50, 100, 200, 400, 800, 1600)
STEERED_DEPTHS = (*DEPTHS, 3200, 6400)
"""Beyond the last a steered answer would take too long: what is not found by then is stated instead."""
WANTED_RECALL = 0.995
WANTED_STEERED_RECALL = 0.98
SHOWN = 20
FEW_USERS = 100
"""How many of the sampled users stand for new ones, and are steered."""
NEW_HISTORY = 3
"""Items of a history that make a new user."""
FILTERED_SHARE = 0.1
"""Where items have no categories, a filter lets this share pass."""
SCORE_BLOCK = 4096

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Sample:
    """One question: who asks, which items may come, and the exact answer."""

    state: UserState
    eligible: Rows
    """Rows that may come, ascending."""
    best: Rows
    """The exact top of them."""
    order: Rows
    """As many of them as any pool holds, in the order in which the index gives them."""
    stratum: str = ""


class Oracle:
    """Exact answers over a draft."""

    def __init__(self, draft: SnapshotDraft, scorer: Scorer) -> None:
        self.draft = draft
        self.scorer = scorer
        self._vectors = np.asarray(scorer.retrieval_vectors(), dtype=np.float32)
        self.cold = draft.array("item_degree") == 0

    def known_users(self, rng: np.random.Generator, count: int) -> list[Sample]:
        """What `count` random users who have a history would be given of what they have not seen, if anything."""
        lengths = np.diff(self.draft.array("history_indptr"))
        known = np.flatnonzero((lengths > 0) & (lengths < self.draft.n_items))
        chosen = known if len(known) <= count else np.sort(rng.choice(known, count, replace=False))
        median = float(np.median(lengths[chosen])) if len(chosen) else 0.0
        samples = []
        for row in chosen.tolist():
            stratum = "/long-history" if lengths[row] > median else "/short-history"
            samples.append(self.sample(self.scorer.known_user(row), self.unseen(self.draft.history(row)), stratum))
        return samples

    def unseen(self, seen: NDArray[np.int32]) -> Rows:
        """All other rows."""
        return np.setdiff1d(np.arange(self.draft.n_items), seen)

    def sample(self, state: UserState, eligible: Rows, stratum: str) -> Sample:
        """The exact answer out of `eligible`."""
        exact = self.scores(state, eligible, np.ones((len(self.scorer.terms) * len(self.scorer.modalities), 1)))
        near = self._vectors[eligible] @ state.vector if self._vectors.shape[1] else np.zeros(len(eligible))
        return Sample(state, eligible, *(top(eligible, exact[:, 0], SHOWN), top(eligible, near)), stratum)

    def scores(self, state: UserState, rows: Rows, factors: NDArray[np.float64]) -> NDArray[np.float64]:
        """(len(rows), S): the exact scores under each steering, whose factors on the amounts are (T · M, S)."""
        found = np.zeros((len(rows), factors.shape[1]))
        for start in range(0, len(rows), SCORE_BLOCK):
            amounts = self.scorer.score(state, rows[start : start + SCORE_BLOCK]).amounts
            found[start : start + SCORE_BLOCK] = amounts.reshape(len(amounts), -1) @ factors
        return found


def candidates_of(
    oracle: Oracle, known: Sequence[Sample], categories: Sequence[Sequence[str]], seed: int
) -> Candidates:
    """The smallest depths that find enough of the exact top 20 (all terms), and what they find.

    Args:
        oracle: over what is served.
        known: the sampled users.
        categories: (I,) of every item; empty where there are none.
        seed: of the draws.

    Returns:
        `depth` finds 99.5 % in every stratum: all known users, those with long and with short histories, cold items in
        their answers, new users, filtered answers. `steered_depth`, by steering, finds 98 %, as far as the deepest pool
        goes.

    """
    rng = np.random.default_rng([seed, 12])
    few = known[:: max(len(known) // FEW_USERS, 1)]
    asked = [*known, *_new_users(oracle, few), *_filtered(oracle, known, categories, rng)]
    recall: dict[str, float | None] = {}
    depth = DEPTHS[0]
    for depth in DEPTHS:
        recall = _recall(oracle, asked, depth)
        if depth >= oracle.draft.n_items or all(value is None or value >= WANTED_RECALL for value in recall.values()):
            break
    depth = min(depth, oracle.draft.n_items)
    steered_depth, found = _steered(oracle, few, depth)
    return Candidates(depth=depth, recall=recall | found, steered_depth=steered_depth)


def top(rows: Rows, scores: NDArray[np.floating], count: int = STEERED_DEPTHS[-1]) -> Rows:
    """The `count` best of `rows` by their scores, best first; ties go to the lower row."""
    best = np.argpartition(-scores, count - 1)[:count] if count < len(rows) else np.arange(len(rows))
    ordered: Rows = rows[best[np.lexsort((rows[best], -scores[best]))]]
    return ordered


def _new_users(oracle: Oracle, known: Sequence[Sample]) -> Iterator[Sample]:
    """People with the latest few items of somebody's history, folded in."""
    for sample in known:
        history = sample.state.history_rows[-NEW_HISTORY:]
        yield oracle.sample(oracle.scorer.encode_user(history), oracle.unseen(history), "/new-user")


def _filtered(
    oracle: Oracle, known: Sequence[Sample], categories: Sequence[Sequence[str]], rng: np.random.Generator
) -> Iterator[Sample]:
    """Only items of a category; of a random item's, so that large categories come often."""
    within: dict[str, list[int]] = {}
    for row, names in enumerate(categories):
        for name in names:
            within.setdefault(name, []).append(row)
    named = [names for names in categories if names]
    n_items = oracle.draft.n_items
    for sample in known:
        if named:
            names = named[int(rng.integers(len(named)))]
            allowed = np.array(within[names[int(rng.integers(len(names)))]], np.int64)
        else:
            allowed = np.flatnonzero(rng.random(n_items) < FILTERED_SHARE)
        eligible = np.intersect1d(sample.eligible, allowed)
        if len(eligible):
            yield oracle.sample(sample.state, eligible, "/filtered")


def _recall(oracle: Oracle, asked: Sequence[Sample], depth: int) -> dict[str, float | None]:
    found: dict[str, list[float]] = {}
    for sample in asked:
        pool = _pool(oracle, sample, depth)
        found.setdefault(sample.stratum, []).append(_share(sample.best, pool))
        if sample.stratum.endswith("-history"):
            found.setdefault("", []).append(_share(sample.best, pool))
            if (cold := oracle.cold[sample.best]).any():
                found.setdefault("/cold-items", []).append(_share(sample.best[cold], pool))
    return {f"recall@{SHOWN}{stratum}": float(np.mean(shares)) for stratum, shares in sorted(found.items())}


def _pool(oracle: Oracle, sample: Sample, depth: int) -> Rows:
    return np.union1d(sample.order[:depth], oracle.scorer.candidates_beyond_index(sample.state, depth))


def _share(best: Rows, pool: Rows) -> float:
    return float(np.isin(best, pool).mean()) if len(best) else 1.0


def _steered(oracle: Oracle, samples: Sequence[Sample], depth: int) -> tuple[dict[str, int], dict[str, float | None]]:
    """By steering (`visual:2`), how deep; and what is found at these depths, on average and where it is worst."""
    names, factors = steerings(oracle.scorer)
    if not samples:
        return {}, {}
    depths = sorted({depth} | {min(deep, oracle.draft.n_items) for deep in STEERED_DEPTHS if deep > depth})
    shares = np.zeros((len(depths), len(names)))  # summed over users
    for sample in samples:
        pools = [_pool(oracle, sample, deep) for deep in depths]
        scores = oracle.scores(sample.state, sample.eligible, factors)
        for column in range(len(names)):
            best = top(sample.eligible, scores[:, column], SHOWN)
            shares[:, column] += [_share(best, pool) for pool in pools]
    shares /= len(samples)
    enough = np.where(shares >= WANTED_STEERED_RECALL, np.arange(len(depths))[:, None], len(depths) - 1).min(axis=0)
    reached = shares[enough, np.arange(len(names))]
    worst = int(reached.argmin())
    recall: dict[str, float | None] = {
        f"recall@{SHOWN}/steered": float(reached.mean()),
        f"recall@{SHOWN}/steered/{names[worst]}": float(reached[worst]),
    }
    return {name: depths[at] for name, at in zip(names, enough.tolist(), strict=True)}, recall


def steerings(scorer: Scorer) -> tuple[list[str], NDArray[np.float64]]:
    """Every modality and term at every measured factor, and what each does to the amounts (T · M, S)."""
    terms = [term.name for term in scorer.terms]
    names, factors = [], []
    for name in [*scorer.modalities, *(term for term in terms if term not in scorer.modalities)]:
        for factor in STEERED_FACTORS:
            effect = np.ones((len(terms), len(scorer.modalities)))
            if name in scorer.modalities:
                effect[:, scorer.modalities.index(name)] = factor
            else:
                effect[terms.index(name)] = factor
            names.append(f"{name}:{factor:g}")
            factors.append(effect.ravel())
    return names, np.stack(factors, axis=1)
