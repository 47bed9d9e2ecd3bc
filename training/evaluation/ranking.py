"""Full ranking: every item is a candidate, none is sampled.

n users of a block, I items, k length of the lists.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from training.errors import TrainingError
from training.evaluation.blocks import in_threads
from training.evaluation.metrics import NOT_RANKED

ScoreBlock = Callable[[NDArray[np.int64]], NDArray[np.floating]]
"""User rows (n,) to their scores of all items (n, I). `-inf` marks an item that is never shown; NaN is an error.

Called from several threads at once.
"""


def rank_users(
    score_block: ScoreBlock,
    user_rows: NDArray[np.int64],
    seen: sparse.csr_array,
    *,
    k: int = 50,
    candidates: NDArray[np.bool_] | None = None,
    block: int = 512,
) -> NDArray[np.int32]:
    """The k best items of every user, best first; equal scores are ordered by item row.

    Args:
        score_block: the model.
        user_rows: (N,) whom to rank for.
        seen: (U, I) interactions whose items are not candidates for that user: the training ones [MMRec's rule: in the
            test, validation positives stay candidates].
        k: length of the lists.
        candidates: (I,) which items may be ranked at all; all where omitted.
        block: users scored at once.

    Returns:
        (N, k) item rows, -1 where a user has fewer than k candidates.

    Raises:
        TrainingError: the scores have the wrong shape or hold NaN.

    """
    ranked = np.full((len(user_rows), k), -1, dtype=np.int32)

    def rank(start: int) -> None:
        scores = _masked(score_block, user_rows[start : start + block], seen, candidates)
        best = _best(scores, min(k, scores.shape[1]))
        shown = np.take_along_axis(scores, best, axis=1) > -np.inf
        ranked[start : start + len(scores), : best.shape[1]] = np.where(shown, best, -1)

    in_threads(rank, range(0, len(user_rows), block))
    return ranked


def rank_positives(
    score_block: ScoreBlock,
    positives: sparse.csr_array,
    seen: sparse.csr_array,
    user_rows: NDArray[np.int64],
    *,
    block: int = 512,
) -> NDArray[np.int32]:
    """(P,) the exact 0-based rank of every positive among all candidates, without making lists.

    The ranks are those of `rank_users` with k = I, at the cost of one comparison per positive and item: what a search
    over settings on a validation split should use.

    Args:
        score_block: the model.
        positives: (N, I) held-out positives of `user_rows`, in that order.
        seen: (U, I) interactions that are no candidates.
        user_rows: (N,) whom to rank for.
        block: users scored at once.

    """
    ranks = np.empty(positives.nnz, dtype=np.int32)

    def rank(start: int) -> None:
        scores = _masked(score_block, user_rows[start : start + block], seen, None)
        firsts = positives.indptr[start : start + len(scores) + 1]
        counts = np.diff(firsts)
        for place in range(int(counts.max(initial=0))):  # everybody's first positive, then the second, …
            rows = np.flatnonzero(counts > place)
            at = firsts[rows] + place
            of_users = scores if len(rows) == len(scores) else scores[rows]
            ranks[at] = _rank_of(of_users, positives.indices[at])

    in_threads(rank, range(0, len(user_rows), block))
    return ranks


def _rank_of(scores: NDArray[np.floating], item: NDArray[np.integer]) -> NDArray[np.integer]:
    """(n,) the rank of one item (n,) per row of scores (n, I); `NOT_RANKED` where it is no candidate."""
    own = np.take_along_axis(scores, item[:, None], axis=1)
    ahead = _count(scores > own)
    for row in np.flatnonzero(_count(scores >= own) - ahead > 1):  # of equal scores the lower rows are ahead
        ahead[row] += np.count_nonzero(scores[row, : item[row]] == own[row])
    return np.where(own[:, 0] > -np.inf, ahead, NOT_RANKED)


def _count(marks: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(n,) how many are marked per row; several times as fast as a sum of truth values."""
    return np.fromiter((np.count_nonzero(row) for row in marks), np.int64, len(marks))


def _masked(
    score_block: ScoreBlock,
    rows: NDArray[np.int64],
    seen: sparse.csr_array,
    candidates: NDArray[np.bool_] | None,
) -> NDArray[np.floating]:
    """(n, I) scores of a block of users, `-inf` for whatever is no candidate."""
    scores = np.array(score_block(rows))  # a copy: it is masked below
    if scores.shape != (len(rows), seen.shape[1]):
        raise TrainingError(f"expected scores of shape {(len(rows), seen.shape[1])}, found {scores.shape}")
    if np.isnan(scores.min(initial=np.inf)):
        place, item = np.argwhere(np.isnan(scores))[0]
        raise TrainingError(f"the model scores user row {rows[place]}, item row {item} with NaN")
    masked = seen[rows]
    scores[np.repeat(np.arange(len(rows)), np.diff(masked.indptr)), masked.indices] = -np.inf
    if candidates is not None:
        scores[:, ~candidates] = -np.inf
    return scores


def _best(scores: NDArray[np.floating], k: int) -> NDArray[np.int64]:
    """(n, k) columns of the k highest scores, best first, ties by column; order among `-inf` is unspecified."""
    best = np.argpartition(scores, scores.shape[1] - k, axis=1)[:, scores.shape[1] - k :]
    found = np.take_along_axis(scores, best, axis=1)
    last = found.min(axis=1, keepdims=True)
    # argpartition picks any of the items that tie for the last place: choose the lowest rows there
    tied = np.count_nonzero(scores == last, axis=1) > np.count_nonzero(found == last, axis=1)
    for row in np.flatnonzero(tied & (last[:, 0] > -np.inf)):
        ahead = np.flatnonzero(scores[row] > last[row])
        best[row] = np.concatenate([ahead, np.flatnonzero(scores[row] == last[row])[: k - len(ahead)]])
    found = np.take_along_axis(scores, best, axis=1)
    return np.take_along_axis(best, np.lexsort((best, -found), axis=1), axis=1)
