"""Interactions in memory: who took which item, when, how rated, in which given part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Interactions:
    """N interactions in file order; duplicates of a (user, item) pair are still apart here."""

    user_row: NDArray[np.int32]
    """(N,) index into `Dataset.user_ids`."""
    item_row: NDArray[np.int32]
    """(N,) index into `ItemTable.item_ids`."""
    timestamp: NDArray[np.float64] | None = None
    """(N,) seconds since the epoch; None where the file has no times."""
    rating: NDArray[np.float32] | None = None
    """(N,) explicit ratings in the file's own scale; None where the file has none."""
    given_split: NDArray[np.int8] | None = None
    """(N,) x_label: 0 train, 1 valid, 2 test; None where the file has none."""

    def __len__(self) -> int:
        """Return N."""
        return len(self.user_row)
