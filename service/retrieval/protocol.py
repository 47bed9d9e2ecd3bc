"""What a candidate index offers. One congruence suite holds every implementation to exact NumPy.

Axes: `I` items, `B` queries, `D` width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray


class CandidateIndex(ABC):
    """Inner-product neighbours among the snapshot's item vectors."""

    name: str
    """What serves it, for `/readyz`: the library, the device and the kind of index."""

    n_items: int
    width: int

    waits: bool = False
    """Whether a search waits for a device: then callers wait in threads, not on the event loop."""

    warning: str | None = None
    """What is not as it was asked for, for `/readyz`."""

    @abstractmethod
    def search(
        self, queries: NDArray[np.float32], depth: int, allowed: NDArray[np.bool_] | None = None
    ) -> NDArray[np.int64]:
        """The rows of the `depth` best items of each query (B, D), best first, as (B, depth) padded with -1.

        `allowed` (I,) restricts the search itself: a row outside it never appears, and rows inside fill up to `depth`.
        """

    @abstractmethod
    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """(len(rows), D): the stored vectors of these items."""
