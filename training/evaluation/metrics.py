"""Ranking metrics per user, from where the held-out positives stand in the ranking. No torch, no model, no data set.

n users, I items, K length of the ranked lists, P held-out positives of all users together. Positives come as the rows
of a CSR matrix (n, I), in whose entry order `ranks` is aligned. Definitions are those of RecBole and MMRec, so that
figures compare: binary relevance, the ideal of NDCG truncated at min(k, |positives|).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from training.errors import TrainingError

NOT_RANKED = np.iinfo(np.int32).max
"""The rank of a positive that is not in the list at all."""


def positive_ranks(ranked: NDArray[np.int32], positives: sparse.csr_array) -> NDArray[np.int32]:
    """(P,) the 0-based place of every positive in its user's list, `NOT_RANKED` where it is absent.

    Args:
        ranked: (n, K) item rows, best first, -1 where a list ends early.
        positives: (n, I) held-out positives of the same users.

    Raises:
        TrainingError: the number of users differs.

    """
    n_users, n_items = positives.shape
    if ranked.ndim != 2 or len(ranked) != n_users:
        raise TrainingError(f"expected ranked lists of {n_users} users, found an array of shape {ranked.shape}")
    user_row, place = np.nonzero(ranked >= 0)
    listed = user_row * n_items + ranked[user_row, place]
    wanted = np.repeat(np.arange(n_users), np.diff(positives.indptr)) * n_items + positives.indices
    ranks = np.full(len(wanted), NOT_RANKED, dtype=np.int32)
    if len(listed):
        order = np.argsort(listed, kind="stable")
        at = np.minimum(np.searchsorted(listed[order], wanted), len(listed) - 1)
        found = listed[order[at]] == wanted
        ranks[found] = place[order[at[found]]]
    return ranks


def recall_at(k: int, ranks: NDArray[np.int32], indptr: NDArray[np.integer]) -> NDArray[np.float64]:
    """(n,) the share of a user's positives among the first k."""
    return _sum_per_user(ranks < k, indptr) / _counts(indptr)


def precision_at(k: int, ranks: NDArray[np.int32], indptr: NDArray[np.integer]) -> NDArray[np.float64]:
    """(n,) the share of the first k that are positives."""
    _counts(indptr)
    return _sum_per_user(ranks < k, indptr) / k


def ndcg_at(k: int, ranks: NDArray[np.int32], indptr: NDArray[np.integer]) -> NDArray[np.float64]:
    """(n,) `Σ 1/log2(rank + 2)` over the positives among the first k, divided by what the best order would give."""
    discount = 1.0 / np.log2(np.arange(k) + 2.0)
    found = ranks < k
    gain = np.zeros(len(ranks))
    gain[found] = discount[ranks[found]]
    ideal: NDArray[np.float64] = np.cumsum(discount)[np.minimum(_counts(indptr), k) - 1]
    return _sum_per_user(gain, indptr) / ideal


def coverage_at(k: int, ranked: NDArray[np.int32], n_items: int) -> float:
    """The share of the catalogue that appears in anybody's first k."""
    return float(np.count_nonzero(_exposure(k, ranked, n_items)) / n_items)


def gini_at(k: int, ranked: NDArray[np.int32], n_items: int) -> float:
    """Inequality of exposure over the whole catalogue: 0 if every item is shown equally often, near 1 if few are."""
    shown = np.sort(_exposure(k, ranked, n_items))
    total = shown.sum()
    if not total:
        return 0.0
    place = np.arange(1, n_items + 1)
    return float(((2 * place - n_items - 1) * shown).sum() / (n_items * total))


def novelty_at(k: int, ranked: NDArray[np.int32], degree: NDArray[np.integer], n_users: int) -> float:
    """Mean self-information, in bits, of what is shown in the first k: `-log2((degree + 1) / (n_users + 1))`.

    Args:
        k: cut-off.
        ranked: (n, K) item rows.
        degree: (I,) training interactions per item; one is added so that an item without any stays finite.
        n_users: users of the training data.

    """
    shown = ranked[:, :k]
    information = -np.log2((degree + 1.0) / (n_users + 1.0))
    return float(information[shown[shown >= 0]].mean()) if (shown >= 0).any() else 0.0


def _exposure(k: int, ranked: NDArray[np.int32], n_items: int) -> NDArray[np.int64]:
    shown = ranked[:, :k]
    return np.bincount(shown[shown >= 0], minlength=n_items)


def _counts(indptr: NDArray[np.integer]) -> NDArray[np.int64]:
    counts = np.diff(indptr).astype(np.int64)
    if (counts <= 0).any():
        user = int(np.flatnonzero(counts <= 0)[0])
        raise TrainingError(f"every evaluated user needs a positive, found none for the one in place {user}")
    return counts


def _sum_per_user(values: NDArray[np.float64] | NDArray[np.bool_], indptr: NDArray[np.integer]) -> NDArray[np.float64]:
    total = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    sums: NDArray[np.float64] = total[indptr[1:]] - total[indptr[:-1]]
    return sums
