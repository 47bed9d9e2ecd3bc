"""The item table in memory: what is known about every item besides who took it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ItemTable:
    """I items, aligned with item rows; what is unknown is None (or no categories)."""

    item_ids: list[str]
    titles: list[str | None]
    categories: list[tuple[str, ...]]
    descriptions: list[str | None]
    images: list[Path | None]

    def __len__(self) -> int:
        """Return I."""
        return len(self.item_ids)
