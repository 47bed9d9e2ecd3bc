"""Which items get an exact score: filters first, then the index, the item-item rows, and an exact scan as last resort.

Axes: `I` items of the snapshot, `A` added ones, `P` candidates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_store.scoring import UserState
from service.view import View

Rows = NDArray[np.int64]
SELECT_BEYOND = 2000
"""More blocked items than this are left out inside the index; fewer are fetched on top and dropped."""


@dataclass(frozen=True)
class Filters:
    """What an answer may hold: never a blocked row, and only items of `categories` where any are named."""

    blocked: Rows  # distinct, any order
    categories: tuple[str, ...] = ()

    def allowed(self, view: View) -> NDArray[np.bool_]:
        """(I+A,): the items that pass."""
        mask = view.in_categories(self.categories).copy() if self.categories else np.ones(view.n_items, np.bool_)
        mask[self.blocked] = False
        return mask

    def count_allowed(self, view: View) -> int:
        """How many items pass."""
        return int(np.count_nonzero(self.allowed(view))) if self.categories else view.n_items - len(self.blocked)

    def drop_blocked(self, view: View, rows: Rows) -> Rows:
        """`rows` without the blocked ones and without the index's padding (-1), order kept."""
        blocked = np.zeros(view.n_items + 1, np.bool_)
        blocked[self.blocked] = True
        blocked[-1] = True
        kept: Rows = rows[~blocked[rows]]
        return kept


def gather(view: View, state: UserState, filters: Filters, depth: int, needed: int) -> Rows:
    """The distinct rows (P,) to score exactly: at least `needed` of them unless fewer pass the filters."""
    rows = _from_index(view, state, filters, depth)
    if len(rows) < min(needed, view.n_items - len(filters.blocked)):
        return np.flatnonzero(filters.allowed(view))
    return rows


def _from_index(view: View, state: UserState, filters: Filters, depth: int) -> Rows:
    served = view.served
    if served.index is None:
        return np.zeros(0, np.int64)
    beyond = np.concatenate([served.scorer.candidates_beyond_index(state, depth), view.candidates(state, depth)])
    if filters.categories or len(filters.blocked) > SELECT_BEYOND:
        allowed = filters.allowed(view)
        found = served.index.search(state.vector[None], depth, allowed[: served.n_items])[0]
        return np.unique(np.concatenate([found[found >= 0], beyond[allowed[beyond]]]))
    found = served.index.search(state.vector[None], depth + len(filters.blocked))[0]
    return np.unique(filters.drop_blocked(view, np.concatenate([found, beyond])))
