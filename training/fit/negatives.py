"""Negative sampling: items that a user has not taken, uniformly, for a whole batch at once.

U users, I items, B pairs of a batch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

ROUNDS = 8
"""Draws before the few who have taken nearly everything are looked at one by one."""


class NegativeSampler:
    """Uniform over the allowed items that are not among a user's training items."""

    def __init__(self, train: sparse.csr_array, allowed: NDArray[np.bool_] | None = None) -> None:
        """Index the known pairs.

        Args:
            train: (U, I) interactions with sorted indices.
            allowed: (I,) items that may be drawn; all where omitted.

        """
        self._n_items = train.shape[1]
        owner = np.repeat(np.arange(train.shape[0], dtype=np.int64), np.diff(train.indptr))
        self._known = owner * self._n_items + train.indices
        self._pool = np.arange(self._n_items) if allowed is None else np.flatnonzero(allowed)

    def draw(self, user_rows: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """(B,) an item for each of `user_rows` (B,).

        Whoever has taken everything gets any item.
        """
        items = self._pool[rng.integers(len(self._pool), size=len(user_rows))]
        clash = np.flatnonzero(self._taken(user_rows, items))
        for _ in range(ROUNDS):
            if not len(clash):
                break
            items[clash] = self._pool[rng.integers(len(self._pool), size=len(clash))]
            clash = clash[self._taken(user_rows[clash], items[clash])]
        for place in clash:
            free = np.setdiff1d(self._pool, self._items_of(int(user_rows[place])), assume_unique=True)
            if len(free):
                items[place] = free[rng.integers(len(free))]
        return items.astype(np.int64)

    def _items_of(self, user_row: int) -> NDArray[np.int64]:
        first, last = np.searchsorted(self._known, (user_row * self._n_items, (user_row + 1) * self._n_items))
        items: NDArray[np.int64] = self._known[first:last] - user_row * self._n_items
        return items

    def _taken(self, user_rows: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.bool_]:
        if not len(self._known):
            return np.zeros(len(items), np.bool_)
        pair = user_rows * self._n_items + items
        at = np.minimum(np.searchsorted(self._known, pair), len(self._known) - 1)
        taken: NDArray[np.bool_] = self._known[at] == pair
        return taken
