"""Scoring kind `plain`: one inner product (BPR-MF, LightGCN, VBPR, FREEDOM, MGCN, SMORE).

Axes: `I` items, `U` users, `N` candidates, `M` modalities, `D` width.

    s(u,i) = ⟨u, v_i⟩,   v_i = `item_vectors` (I, D),   u = `user_vectors` (U, D) or the history's (`linear_user.py`)

The one base term is `collaborative`, after `item-item` where the snapshot has that (`linear_user.py`). Where there is
`item_parts` (I, M, D), the term's amount of a modality is the inner product with that part, and behaviour has what the
others leave of the score; else all of it is behaviour's.
"""

from __future__ import annotations

import numpy as np

from model_store.half import widened
from model_store.scoring.base import (
    ALL_ROWS,
    F32,
    Because,
    PairScores,
    Readable,
    Rows,
    UserState,
    side_by_side,
    summed,
)
from model_store.scoring.linear_user import LinearUserScorer


class PlainScorer(LinearUserScorer):
    """One term over two tables."""

    candidate_arrays = ("item_vectors", "item_parts")

    def __init__(self, snapshot: Readable) -> None:
        super().__init__(snapshot)
        self._vectors = snapshot.array("item_vectors")
        self._parts = snapshot.array("item_parts") if snapshot.has("item_parts") else None

    def retrieval_vectors(self, rows: Rows | slice = ALL_ROWS) -> F32:
        """(n, D): the item vectors themselves."""
        return widened(self._vectors[rows])

    def expert_vectors(self, item_rows: Rows) -> F32:
        """(N, D): the item vectors, of unit length."""
        return side_by_side([self.retrieval_vectors(item_rows)], len(item_rows))

    def score(self, state: UserState, item_rows: Rows) -> PairScores:
        """Without gates."""
        scores = (widened(self._vectors[item_rows]) @ state.vector).astype(np.float64)
        amounts = np.zeros((len(item_rows), 1, len(self.modalities)))
        if self._parts is not None:
            amounts[:, 0, 1:] = widened(self._parts[item_rows, 1:]) @ state.vector
        amounts[:, 0, 0] = scores - amounts[:, 0, 1:].sum(axis=1)
        contributions = summed(amounts)
        own = PairScores(item_rows, contributions, np.full(contributions.shape, np.nan, np.float32), amounts)
        return self._user.beside(state, own)

    def because(self, state: UserState, item_row: int) -> Because:
        """Exact for what the history adds up to; see `LinearUser.because`."""
        return self._user.because(state, item_row, self._vectors[item_row].astype(np.float64))
