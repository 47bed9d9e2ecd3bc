"""What folding a newcomer in is worth, against training with them: measured on users held out of training entirely.

Axes: `U` users, `I` items. For each held-out user one half of the interactions, drawn at random, is the history, the
other half what should be found. Model A never sees the held-out users and encodes the history when asked, as the
service does; model B is trained with those histories. Both score the whole catalogue through the snapshot's own scorer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from model_store.manifest import Training
from model_store.scoring import Scorer, scorer_for
from training.data.dataset import Dataset
from training.data.splits import Split, everything
from training.errors import TrainingError
from training.export.build import build_draft
from training.fit.run import Run
from training.models.protocol import Recipe

K = 20


@dataclass(frozen=True)
class HeldOut:
    """The two splits, and what the held-out users have done."""

    without: Split
    with_histories: Split  # of the held-out users the first halves
    wanted: sparse.csr_array  # (U, I) the second halves


def hold_users_out(dataset: Dataset, *, share: float, seed: int, at_least: int = 10) -> HeldOut:
    """Hold out `share` of the users with at least `at_least` interactions; a tenth of the others' is for validation.

    Raises:
        TrainingError: no user has that many interactions.

    """
    rng = np.random.default_rng([seed, 31])
    every = everything(dataset, seed=seed)
    positives = every.train
    length = np.diff(positives.indptr)
    able = np.flatnonzero(length >= at_least)
    if not len(able):
        raise TrainingError(f"expected users with at least {at_least} interactions to hold out, found none")
    held = np.zeros(len(length), bool)
    held[rng.choice(able, max(1, round(share * len(able))), replace=False)] = True
    user_rows = np.repeat(np.arange(len(length)), length)
    draw = rng.random(positives.nnz)
    rank = np.empty(positives.nnz, np.int64)
    rank[np.lexsort((draw, user_rows))] = np.arange(positives.nnz) - np.repeat(positives.indptr[:-1], length)
    of_held = held[user_rows]
    first_half = of_held & (rank < (length // 2)[user_rows])
    for_valid = ~of_held & (length[user_rows] > 2) & (rank < np.maximum(1, length // 10)[user_rows])
    warm = ~of_held & ~for_valid

    def matrix(chosen: NDArray[np.bool_]) -> sparse.csr_array:
        ones = np.ones(int(chosen.sum()), np.float32)
        return sparse.csr_array((ones, (user_rows[chosen], positives.indices[chosen])), shape=positives.shape)

    def split(train: NDArray[np.bool_]) -> Split:
        order = None if every.train_order is None else every.train_order[train]
        wanted = matrix(of_held & ~first_half)
        return replace(
            every, train=matrix(train), valid=matrix(for_valid), test=wanted, train_order=order, name="fold-in"
        )

    without, with_histories = split(warm), split(warm | first_half)
    return HeldOut(without, with_histories, without.test)


def fold_in_quality(
    recipe: Recipe, settings: Any, dataset: Dataset, held_out: HeldOut, run: Run
) -> dict[str, float | int]:
    """Recall@20 over the held-out users: folded in, trained with, and the ratio of the two."""
    recalls = {}
    for name, split in (("folded_in", held_out.without), ("trained_with", held_out.with_histories)):
        fitted = recipe.fit(dataset, split, settings, replace(run, directory=run.directory / name))
        draft, _ = build_draft(
            recipe.name,
            fitted,
            dataset,
            split,
            history_cap=getattr(settings, "history_cap", 1000),
            metrics={},
            training=Training(seed=run.seed),
        )
        recalls[name] = _recall(scorer_for(draft), held_out, known=name == "trained_with")
    return {
        "users": int(np.count_nonzero(np.diff(held_out.wanted.indptr))),
        **{name: round(value, 4) for name, value in recalls.items()},
        "ratio": round(recalls["folded_in"] / max(recalls["trained_with"], 1e-12), 4),
    }


def _recall(scorer: Scorer, held_out: HeldOut, *, known: bool) -> float:
    found = []
    indptr, items = held_out.with_histories.history()  # oldest first; of who is held out it is what is folded in
    for user_row in np.flatnonzero(np.diff(held_out.wanted.indptr)):
        history = items[indptr[user_row] : indptr[user_row + 1]]
        wanted = held_out.wanted[[user_row]].indices
        state = scorer.known_user(int(user_row)) if known else scorer.encode_user(history)
        scores = scorer.score_all(state)
        scores[history] = -np.inf
        best = np.argsort(-scores, kind="stable")[:K]
        found.append(np.isin(wanted, best).sum() / min(len(wanted), K))
    return float(np.mean(found))
