"""Which items are taken together: the neighbours of every item by behaviour.

Axes: `U` users, `I` items, `k` neighbours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from training.graph.content import NeighbourLists

LATEST = 200
"""Items of a history that count, the latest ones: the work grows with the square of it."""
BLOCK = 1024


def together_lists(indptr: NDArray[np.int64], items: NDArray[np.int32], n_items: int, *, k: int = 10) -> NeighbourLists:
    """The k items most often taken by the same users, by cosine over users; never itself.

    Equal cosines are ordered by item row. Memory beyond the histories is `BLOCK` rows of co-occurrences.

    Args:
        indptr: (U + 1,) where each user's history starts.
        items: item rows of the histories, oldest first, distinct within each.
        n_items: I.
        k: neighbours per item.

    """
    position = np.arange(len(items)) - np.repeat(indptr[:-1], np.diff(indptr))
    late = position >= np.repeat(np.diff(indptr) - LATEST, np.diff(indptr))
    users = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))[late]
    degree = np.bincount(items[late], minlength=n_items)
    values = 1 / np.sqrt(degree[items[late]])
    by_user = sparse.csr_array((values, (users, items[late])), shape=(len(indptr) - 1, n_items))
    by_item = sparse.csr_array(by_user.T)
    found = NeighbourLists(np.full((n_items, k), -1, np.int32), np.zeros((n_items, k), np.float32))
    for start in range(0, n_items, BLOCK):
        together = sparse.csr_array(by_item[start : start + BLOCK] @ by_user)
        for offset in range(together.shape[0]):
            row = slice(together.indptr[offset], together.indptr[offset + 1])
            others = together.indices[row] != start + offset
            rows, cosines = together.indices[row][others], together.data[row][others]
            best = np.lexsort((rows, -cosines))[:k]
            found.items[start + offset, : len(best)] = rows[best]
            found.values[start + offset, : len(best)] = cosines[best]
    return found
