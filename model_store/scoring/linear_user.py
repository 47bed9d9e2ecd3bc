"""A user as a linear function of the history: what the kinds `plain` and `item` make of people they have no row for.

Both kinds may have the item-item evidence as a first term beside their own: snapshots whose terms name it.

Axes: `I` items, `n` history length, `D` width.

    u = c + Σ_j w_j Q_j,   w_j = ρ^a_j / √(Σ_k ρ^2a_k),   a_j = 0 for the latest item, 1 for the one before, …

`Q` is `item_history` (I, D), `c` the parameter `user_offset` (D,), `ρ` in (0, 1] the parameter `history_decay`: 1 where
order does not matter, and the weights are then 1 / √n. Models with a free table of users store the least-squares fit of
this form to the table.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model_store.manifest import ITEM_ITEM
from model_store.scoring.base import F32, F64, Because, PairScores, Readable, Rows, Scorer, UserState
from model_store.scoring.item_item import ItemItemTerm, no_item_item


def history_weights(length: int, decay: float) -> F64:
    """`w` (n,) of a history of this length, oldest first; their squares sum to 1."""
    weights = np.power(float(decay), np.arange(length - 1, -1, -1, dtype=np.float64))
    scaled: F64 = weights / max(float(np.sqrt(np.square(weights).sum())), 1e-12)
    return scaled


class LinearUser:
    """Makes user vectors out of histories, and says what each item of a history did."""

    def __init__(self, snapshot: Readable) -> None:
        """Take `Q`, `c` and `ρ` from the snapshot; the table stays mapped."""
        self._history = snapshot.array("item_history")
        self._offset = np.asarray(snapshot.parameter("user_offset"), dtype=np.float32)
        self._decay = float(snapshot.parameter("history_decay")[0])
        self._n_modalities = len(snapshot.manifest.modalities)
        self._item_item = ItemItemTerm(snapshot) if snapshot.manifest.terms[0].name == ITEM_ITEM else None

    def state(self, history_rows: NDArray[np.int32], vector: NDArray[np.floating] | None = None) -> UserState:
        """The state of a user with this history; `vector` (D,) takes the place of the linear form where it is known."""
        found = self._encode(history_rows) if vector is None else vector.astype(np.float32)
        evidence = no_item_item(self._n_modalities) if self._item_item is None else self._item_item.gather(history_rows)
        return UserState(history_rows, found, np.zeros(0, np.float32), evidence)

    def beside(self, state: UserState, own: PairScores) -> PairScores:
        """A kind's own terms, after the item-item evidence where the snapshot has that term."""
        return own if self._item_item is None else own.beside(state.item_item.at(own.item_rows))

    def _encode(self, history_rows: NDArray[np.int32]) -> F32:
        weights = history_weights(len(history_rows), self._decay).astype(np.float32)
        vector: F32 = self._offset + weights @ self._history[history_rows].astype(np.float32)
        return vector

    def because(self, state: UserState, item_row: int, item_vector: NDArray[np.floating]) -> Because:
        """Exact for what each history item adds to `⟨u, item_vector⟩` and for its item-item evidence.

        What no item of the history brought (the offset, and how far a stored user lies from the linear form) is
        attributed in equal shares.
        """
        length = len(state.history_rows)
        weights = history_weights(length, self._decay)
        exact = weights * (self._history[state.history_rows].astype(np.float64) @ item_vector.astype(np.float64))
        rest = float(state.vector.astype(np.float64) @ item_vector) - float(exact.sum())
        if self._item_item is not None:
            exact = exact + self._item_item.per_history_item(state.history_rows, item_row).sum(axis=1)
        return Because(state.history_rows, exact, np.full(length, rest / max(length, 1)))


class LinearUserScorer(Scorer):
    """What the kinds `plain` and `item` share: where their users come from."""

    def __init__(self, snapshot: Readable) -> None:
        super().__init__(snapshot)
        self._user = LinearUser(snapshot)

    def encode_user(self, history_rows: Rows) -> UserState:
        """From the history alone."""
        return self._user.state(self._capped(history_rows))

    def known_user(self, user_row: int) -> UserState:
        """The stored vector."""
        rows = self._capped(self.snapshot.history(user_row))
        return self._user.state(rows, self.snapshot.array("user_vectors")[user_row])
