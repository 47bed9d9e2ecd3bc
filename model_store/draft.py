"""A snapshot's content before it is published: in memory, readable by the same scorers.

What the export measures about a snapshot (candidate recall, routed variance) is measured on exactly the arrays that
will be stored, half precision included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_store.manifest import ManifestDraft


@dataclass(frozen=True)
class SnapshotDraft:
    """Arrays and parameters under the names that FORMAT.md gives them."""

    manifest: ManifestDraft
    arrays: Mapping[str, NDArray[Any]]
    parameters: Mapping[str, NDArray[Any]]

    @property
    def n_items(self) -> int:
        """I."""
        return len(self.arrays["popularity"])

    def has(self, name: str) -> bool:
        """Whether there is an array of this name."""
        return name in self.arrays

    def array(self, name: str) -> NDArray[Any]:
        """The array of this name; KeyError where there is none."""
        return self.arrays[name]

    def parameter(self, name: str) -> NDArray[Any]:
        """The parameter of this name; KeyError where there is none."""
        return self.parameters[name]

    def history(self, user_row: int) -> NDArray[np.int32]:
        """The item rows of a user's history, oldest first."""
        start, stop = self.arrays["history_indptr"][user_row : user_row + 2]
        rows: NDArray[np.int32] = self.arrays["history_items"][start:stop]
        return rows
