"""Scoring kind `item`: an item is a gate-weighted sum of expert vectors (MAMEX, RLMultimodalRec, EGRA, CAMMSR).

Axes: `I` items, `U` users, `N` candidates, `T` terms, `M` modalities, `D` width.

    s(u,i) = Σ_t g_it ⟨u, p_it⟩,   p = `item_term_vectors` (I, T, D),   g = `item_gates` (I, T)

`u` is `user_vectors` (U, D) or the history's (`linear_user.py`). Gates depend on the item alone. Terms with the role
`modality` are gated experts, whose gate is the answer's weight; base terms have no weight to show, their gate is 1.
A term's contribution is shared out by the modality shares that the manifest states for it, so a term that reads one
modality belongs to it entirely. The T terms come after `item-item` where the snapshot has that (`linear_user.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model_store.half import widened
from model_store.manifest import ITEM_ITEM, Term
from model_store.scoring.base import (
    ALL_ROWS,
    F32,
    F64,
    Because,
    PairScores,
    Readable,
    Rows,
    UserState,
    side_by_side,
    summed,
)
from model_store.scoring.linear_user import LinearUserScorer


class ItemScorer(LinearUserScorer):
    """Terms that the item's own gates weigh."""

    candidate_arrays = ("item_term_vectors", "item_gates")

    def __init__(self, snapshot: Readable) -> None:
        super().__init__(snapshot)
        self._vectors = snapshot.array("item_term_vectors")
        self._gates = snapshot.array("item_gates")
        own = [term for term in self.terms if term.name != ITEM_ITEM]
        self._base = np.array([term.role == "base" for term in own])
        self._shares = self._modality_shares(own)

    def _modality_shares(self, terms: Sequence[Term]) -> F64:
        """(T, M): each term's shares; all behaviour's where a term states none."""
        shares = np.array([[float(term.modalities.get(m) or 0.0) for m in self.modalities] for term in terms])
        shares[shares.sum(axis=1) == 0, 0] = 1.0
        scaled: F64 = shares / shares.sum(axis=1, keepdims=True)
        return scaled

    def retrieval_vectors(self, rows: Rows | slice = ALL_ROWS) -> F32:
        """(n, D): the gated sum of each item's expert vectors."""
        summed: F32 = np.einsum("it,itd->id", widened(self._gates[rows]), widened(self._vectors[rows]))
        return summed

    def expert_vectors(self, item_rows: Rows) -> F32:
        """(N, T·D): each term's vector as far as its gate lets it through."""
        seen = widened(self._gates[item_rows])[:, :, None] * widened(self._vectors[item_rows])
        return side_by_side(list(seen.transpose(1, 0, 2)), len(item_rows))

    def score(self, state: UserState, item_rows: Rows) -> PairScores:
        """Every term; one whose gate is closed is all zero."""
        gates = widened(self._gates[item_rows])
        inner = widened(self._vectors[item_rows]) @ state.vector
        amounts = (gates * inner).astype(np.float64)[:, :, None] * self._shares
        weights = np.where(self._base, np.float32(np.nan), gates)
        return self._user.beside(state, PairScores(item_rows, summed(amounts), weights, amounts))

    def because(self, state: UserState, item_row: int) -> Because:
        """Exact for what the history adds up to (gates do not depend on it); see `LinearUser.because`."""
        gates, vectors = self._gates[item_row].astype(np.float64), self._vectors[item_row].astype(np.float64)
        return self._user.because(state, item_row, gates @ vectors)
