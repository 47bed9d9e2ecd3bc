"""The live catalogue: what was hidden since the snapshot, as rows of the one that is served."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.served import ServedSnapshot
from service.state.mirror import Mirror


class Catalogue:
    """The mirrored items, seen from a snapshot."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._cached: tuple[str, int, NDArray[np.int64], NDArray[np.int64]] | None = None

    @property
    def version(self) -> int:
        """The version of the newest change to any item."""
        return self._mirror.items_version

    def hidden(self, served: ServedSnapshot, at_version: int | None = None) -> NDArray[np.int64]:
        """Distinct rows of hidden items; with `at_version` only what was hidden up to then."""
        snapshot_id, version, rows, versions = self._cached or ("", -1, None, None)
        if rows is None or versions is None or snapshot_id != served.id or version != self.version:
            rows, versions = self._hidden_rows(served)
            self._cached = (served.id, self.version, rows, versions)
        return rows if at_version is None else rows[versions <= at_version]

    def is_hidden(self, item_id: str) -> bool:
        """Whether this item was hidden and not put again."""
        item = self._mirror.items.get(item_id)
        return item is not None and item.hidden

    def _hidden_rows(self, served: ServedSnapshot) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        found = [
            (row, item.version)
            for item in self._mirror.items.values()
            if item.hidden and (row := served.snapshot.item_row(item.item_id)) is not None
        ]
        table = np.array(sorted(found), np.int64).reshape(-1, 2)
        return table[:, 0], table[:, 1]
