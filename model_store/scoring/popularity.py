"""Scoring kind `popularity`: the same (recency-weighted) count for every user."""

from __future__ import annotations

import numpy as np

from model_store.scoring.base import ALL_ROWS, F32, Because, PairScores, Rows, Scorer, UserState, summed
from model_store.scoring.item_item import no_item_item


class PopularityScorer(Scorer):
    """One term, `popularity`, that knows no user."""

    candidate_arrays = ("popularity",)

    def retrieval_vectors(self, rows: Rows | slice = ALL_ROWS) -> F32:
        """(n, 1): the popularity itself, so that the index ranks by it."""
        return np.asarray(self.snapshot.array("popularity")[rows], np.float32)[:, None]

    def encode_user(self, history_rows: Rows) -> UserState:
        """The constant query 1; the history only says what was seen."""
        rows = self._capped(history_rows)
        return UserState(rows, np.ones(1, np.float32), np.zeros(0, np.float32), no_item_item(len(self.modalities)))

    def score(self, state: UserState, item_rows: Rows) -> PairScores:
        """One term; all of it is behaviour, the first modality."""
        amounts = np.zeros((len(item_rows), 1, len(self.modalities)))
        amounts[:, 0, 0] = self.snapshot.array("popularity")[item_rows]
        contributions = summed(amounts)
        return PairScores(item_rows, contributions, np.full(contributions.shape, np.nan, np.float32), amounts)

    def because(self, state: UserState, item_row: int) -> Because:
        """Nothing in the history carries a popular item."""
        nothing = np.zeros(len(state.history_rows))
        return Because(state.history_rows, nothing, nothing)
