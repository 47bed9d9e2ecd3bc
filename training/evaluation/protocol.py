"""Evaluate a model on the validation or test part of a split: full ranking, strata, catalogue statistics.

U users, I items, N evaluated users (those with a positive in the part).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from training.data.splits import Split
from training.errors import TrainingError
from training.evaluation.metrics import coverage_at, gini_at, ndcg_at, novelty_at, positive_ranks, recall_at
from training.evaluation.ranking import ScoreBlock, rank_users
from training.evaluation.strata import item_strata, user_strata

CUTOFFS = (5, 10, 20, 50)
CATALOGUE_CUTOFF = 20
"""The length of a served page, for which coverage, Gini and novelty are reported."""

AMONG_COLD = "cold-among-cold"
"""Cold positives ranked among the cold items only; the stratum `cold` ranks them among all items."""


@dataclass(frozen=True)
class UserMetrics:
    """Metrics of the users who have a positive in a group, a value per user, so that models are compared in pairs."""

    user_rows: NDArray[np.int64]
    """(n,) whom the values belong to, ascending."""
    values: dict[str, NDArray[np.float64]]
    """(n,) per metric: `recall@5`, `ndcg@5`, ….."""

    def means(self) -> dict[str, float]:
        """Mean over users per metric, and `users`, how many there are."""
        return {name: float(value.mean()) for name, value in self.values.items()} | {"users": len(self.user_rows)}


@dataclass(frozen=True)
class Evaluation:
    """What one model did on one part of a split."""

    part: str
    overall: UserMetrics
    strata: dict[str, UserMetrics]
    """By name of a stratum that has any positive; item strata count only the positives inside the stratum, ranked
    among all items, and `cold-among-cold` ranks among cold items only."""
    catalogue: dict[str, float]
    """`coverage@20`, `gini@20`, `novelty@20`."""
    ranked: NDArray[np.int32]
    """(N, 50) the lists themselves, rows as in `overall.user_rows`."""

    def means(self) -> dict[str, float]:
        """Mean metrics over users, together with the catalogue statistics."""
        return self.overall.means() | self.catalogue

    def strata_means(self) -> dict[str, dict[str, float]]:
        """Mean metrics per stratum."""
        return {name: group.means() for name, group in self.strata.items()}


def evaluate(
    score_block: ScoreBlock,
    split: Split,
    part: Literal["valid", "test"],
    *,
    present: Sequence[NDArray[np.bool_]] = (),
    cutoffs: Sequence[int] = CUTOFFS,
    ranked: NDArray[np.int32] | None = None,
) -> Evaluation:
    """Rank all items for every user with a positive in `part`, training items masked, and measure.

    Args:
        score_block: the model.
        split: its training part defines what is masked and what is popular, cold, short or long.
        part: which held-out part to measure. In the test, validation positives stay candidates [MMRec's rule].
        present: (I,) per content modality, which items have it.
        cutoffs: lengths of the lists to report.
        ranked: (N, k) the lists of the users with a positive in `part`, ascending, where they are known already.

    Raises:
        TrainingError: nobody has a positive in that part, or the model scores with NaN.

    """
    held_out = split.valid if part == "valid" else split.test
    user_rows = np.flatnonzero(np.diff(held_out.indptr)).astype(np.int64)
    if not len(user_rows):
        raise TrainingError(f"the {part} part of split {split.name!r} holds no interaction: nothing to evaluate")
    positives = held_out[user_rows]
    score_block = for_everyone(score_block, split.train)
    if ranked is None:
        ranked = rank_users(score_block, user_rows, split.train, k=max(*cutoffs, CATALOGUE_CUTOFF))
    ranks = positive_ranks(ranked, positives)
    groups = {"": UserMetrics(user_rows, _metrics(ranks, positives.indptr, cutoffs))}
    by_item = item_strata(split.train, present)
    for name, stratum in by_item.items():
        groups[name] = _of_items(stratum, user_rows, positives, ranks, cutoffs)
    for name, members in user_strata(split.train).items():
        groups[name] = _of_users(members, groups[""])
    groups[AMONG_COLD] = _among_cold(score_block, split.train, by_item["cold"], user_rows, positives, cutoffs)
    overall = groups.pop("")
    degree = np.bincount(split.train.indices, minlength=split.train.shape[1])
    return Evaluation(
        part=part,
        overall=overall,
        strata={name: group for name, group in groups.items() if len(group.user_rows)},
        catalogue={
            f"coverage@{CATALOGUE_CUTOFF}": coverage_at(CATALOGUE_CUTOFF, ranked, len(degree)),
            f"gini@{CATALOGUE_CUTOFF}": gini_at(CATALOGUE_CUTOFF, ranked, len(degree)),
            f"novelty@{CATALOGUE_CUTOFF}": novelty_at(CATALOGUE_CUTOFF, ranked, degree, split.train.shape[0]),
        },
        ranked=ranked,
    )


def for_everyone(score_block: ScoreBlock, train: sparse.csr_array) -> ScoreBlock:
    """As in serving, whoever has no training interaction gets popular items, whatever the model.

    Popular by how often they were taken in training; the service lets recent interactions count more.
    """
    unknown = np.diff(train.indptr) == 0
    if not unknown.any():
        return score_block
    popularity = np.bincount(train.indices, minlength=train.shape[1]).astype(np.float32)

    def scores(user_rows: NDArray[np.int64]) -> NDArray[np.floating]:
        return np.where(unknown[user_rows, None], popularity, score_block(user_rows))

    return scores


def evaluate_both(
    score_block: ScoreBlock, split: Split, *, present: Sequence[NDArray[np.bool_]] = ()
) -> dict[str, Evaluation]:
    """Valid and test from one pass over the users: both mask the training items and nothing else."""
    with_valid, with_test = np.diff(split.valid.indptr) > 0, np.diff(split.test.indptr) > 0
    rows = np.flatnonzero(with_valid | with_test).astype(np.int64)
    ranked = rank_users(for_everyone(score_block, split.train), rows, split.train, k=max(*CUTOFFS, CATALOGUE_CUTOFF))
    return {
        "valid": evaluate(score_block, split, "valid", present=present, ranked=ranked[with_valid[rows]]),
        "test": evaluate(score_block, split, "test", present=present, ranked=ranked[with_test[rows]]),
    }


def _metrics(
    ranks: NDArray[np.int32], indptr: NDArray[np.integer], cutoffs: Sequence[int]
) -> dict[str, NDArray[np.float64]]:
    recall = {f"recall@{k}": recall_at(k, ranks, indptr) for k in cutoffs}
    return recall | {f"ndcg@{k}": ndcg_at(k, ranks, indptr) for k in cutoffs}


def _of_items(
    stratum: NDArray[np.bool_],
    user_rows: NDArray[np.int64],
    positives: sparse.csr_array,
    ranks: NDArray[np.int32],
    cutoffs: Sequence[int],
) -> UserMetrics:
    """Only the positives inside the stratum count; users without one drop out."""
    inside = stratum[positives.indices]
    per_user = np.diff(np.concatenate([[0], np.cumsum(inside)])[positives.indptr])
    members = per_user > 0
    indptr = np.concatenate([[0], np.cumsum(per_user[members])])
    return UserMetrics(user_rows[members], _metrics(ranks[inside], indptr, cutoffs))


def _of_users(members: NDArray[np.bool_], overall: UserMetrics) -> UserMetrics:
    chosen = members[overall.user_rows]
    return UserMetrics(overall.user_rows[chosen], {name: value[chosen] for name, value in overall.values.items()})


def _among_cold(
    score_block: ScoreBlock,
    train: sparse.csr_array,
    cold: NDArray[np.bool_],
    user_rows: NDArray[np.int64],
    positives: sparse.csr_array,
    cutoffs: Sequence[int],
) -> UserMetrics:
    """Rank again with the cold items as the only candidates, for the users who have a cold positive."""
    owner = np.repeat(np.arange(len(user_rows)), np.diff(positives.indptr))
    with_cold = np.unique(owner[cold[positives.indices]])
    rows = user_rows[with_cold]
    ranked = rank_users(score_block, rows, train, k=max(cutoffs), candidates=cold)
    ranks = positive_ranks(ranked, positives[with_cold])
    return _of_items(cold, rows, positives[with_cold], ranks, cutoffs)
