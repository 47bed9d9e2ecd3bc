"""Which items get an exact score: filters first, then the index, the item-item rows, and an exact scan as last resort.

Axes: `I` items, `P` candidates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_store.scoring import UserState
from service.served import ServedSnapshot

Rows = NDArray[np.int64]
SELECT_BEYOND = 2000
"""More blocked items than this are left out inside the index; fewer are fetched on top and dropped."""


@dataclass(frozen=True)
class Filters:
    """What an answer may hold: never a blocked row, and only items of `categories` where any are named."""

    blocked: Rows  # distinct, any order
    categories: tuple[str, ...] = ()

    def allowed(self, served: ServedSnapshot) -> NDArray[np.bool_]:
        """(I,): the items that pass."""
        every = np.ones(served.n_items, np.bool_)
        mask = served.in_categories(self.categories).copy() if self.categories else every
        mask[self.blocked] = False
        return mask

    def count_allowed(self, served: ServedSnapshot) -> int:
        """How many items pass."""
        if self.categories:
            return int(np.count_nonzero(self.allowed(served)))
        return served.n_items - len(self.blocked)

    def drop_blocked(self, served: ServedSnapshot, rows: Rows) -> Rows:
        """`rows` without the blocked ones and without the index's padding (-1), order kept."""
        blocked = np.zeros(served.n_items + 1, np.bool_)
        blocked[self.blocked] = True
        blocked[-1] = True
        kept: Rows = rows[~blocked[rows]]
        return kept


def gather(served: ServedSnapshot, state: UserState, filters: Filters, depth: int, needed: int) -> Rows:
    """The distinct rows (P,) to score exactly: at least `needed` of them unless fewer pass the filters."""
    rows = _from_index(served, state, filters, depth)
    if len(rows) < min(needed, served.n_items - len(filters.blocked)):
        return np.flatnonzero(filters.allowed(served))
    return rows


def _from_index(served: ServedSnapshot, state: UserState, filters: Filters, depth: int) -> Rows:
    if served.index is None:
        return np.zeros(0, np.int64)
    beyond = served.scorer.candidates_beyond_index(state)
    if filters.categories or len(filters.blocked) > SELECT_BEYOND:
        allowed = filters.allowed(served)
        found = served.index.search(state.vector[None], depth, allowed)[0]
        return np.unique(np.concatenate([found[found >= 0], beyond[allowed[beyond]]]))
    found = served.index.search(state.vector[None], depth + len(filters.blocked))[0]
    return np.unique(filters.drop_blocked(served, np.concatenate([found, beyond])))
