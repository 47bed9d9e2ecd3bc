"""The `item-item` term: a closed-form linear model over the history (EASE with a content prior), as sparse rows.

Axes: `I` items, `n` history length, `M` modalities. Our choice, not MAGNET's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model_store.half import widened
from model_store.scoring.base import (
    ALL_ROWS,
    F32,
    Because,
    PairScores,
    Readable,
    Rows,
    Scorer,
    SparseScores,
    UserState,
    summed,
)


class ItemItemTerm:
    """`Σ_{j ∈ history} w B_ji`, with each entry of `B` stored split over the modalities (M,)."""

    def __init__(self, snapshot: Readable) -> None:
        self._indptr = snapshot.array("item_item_indptr")
        self._items = snapshot.array("item_item_items")
        self._values = snapshot.array("item_item_values")

    def gather(self, history_rows: NDArray[np.int32]) -> SparseScores:
        """The sum of the history's rows of `B`: every item that has an entry, with its amounts per modality."""
        if len(history_rows) == 0:
            return no_item_item(self._values.shape[1])
        parts = [slice(*self._indptr[row : row + 2]) for row in history_rows.tolist()]
        items = np.concatenate([self._items[part] for part in parts])
        if len(items) == 0:
            return no_item_item(self._values.shape[1])
        order = _stable_order(items)
        items = items[order]
        values = widened(np.concatenate([self._values[part] for part in parts]))[order].astype(np.float64)
        firsts = np.flatnonzero(np.concatenate(([True], items[1:] != items[:-1])))
        rows, amounts = items[firsts], np.add.reduceat(values, firsts, axis=0)
        return SparseScores.over(len(self._indptr) - 1, rows.astype(np.int64), amounts, history_rows)

    def per_history_item(self, history_rows: NDArray[np.int32], item_row: int) -> NDArray[np.float64]:
        """(n, M): `w B_ji` for each item j of the history, by modality."""
        out = np.zeros((len(history_rows), self._values.shape[1]))
        for position, row in enumerate(history_rows):
            start, stop = int(self._indptr[row]), int(self._indptr[row + 1])
            hit = np.flatnonzero(self._items[start:stop] == item_row)
            if len(hit):
                out[position] = self._values[start + hit[0]]
        return out


def _stable_order(rows: NDArray[np.int32]) -> NDArray[np.int64]:
    """As a stable `argsort` of `rows` (n,), none negative: a sort of numbers is many times as fast as one of places."""
    ordered = rows.astype(np.int64) << 32 | np.arange(len(rows))
    ordered.sort()
    return ordered & 0xFFFFFFFF


def no_item_item(n_modalities: int) -> SparseScores:
    """The empty sum, for snapshots without the term and users without a history."""
    nothing = np.zeros(n_modalities)
    return SparseScores(np.zeros(0, np.int64), np.zeros((0, n_modalities)), nothing, nothing)


class ItemItemScorer(Scorer):
    """Scoring kind `item-item`: the one term is the closed form itself."""

    candidate_arrays = ()

    def __init__(self, snapshot: Readable) -> None:
        super().__init__(snapshot)
        self._item_item = ItemItemTerm(snapshot)

    def retrieval_vectors(self, rows: Rows | slice = ALL_ROWS) -> F32:
        """(n, 0): candidates come from the matrix itself."""
        return np.zeros((self.n_items, 0), np.float32)[rows]

    def encode_user(self, history_rows: Rows) -> UserState:
        """A user is the sum of the history's rows."""
        rows = self._capped(history_rows)
        empty = np.zeros(0, np.float32)
        return UserState(rows, empty, empty, self._item_item.gather(rows))

    def score(self, state: UserState, item_rows: Rows) -> PairScores:
        """One term, without a gate."""
        amounts = state.item_item.at(item_rows)[:, None, :]
        contributions = summed(amounts)
        return PairScores(item_rows, contributions, np.full(contributions.shape, np.nan, np.float32), amounts)

    def because(self, state: UserState, item_row: int) -> Because:
        """Exact: the score is a sum over the history."""
        exact = self._item_item.per_history_item(state.history_rows, item_row).sum(axis=1)
        return Because(state.history_rows, exact, np.zeros_like(exact))
