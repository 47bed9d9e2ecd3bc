"""What answers print of a snapshot beside their numbers: its terms, and what its items are called."""

from __future__ import annotations

from typing import Any

from model_store.snapshot import Snapshot
from service.printed import Display, TermHead


class Imprint:
    """May be kept after the snapshot has left memory and store: what is not small is mapped, and that outlives both."""

    def __init__(self, snapshot: Snapshot) -> None:
        manifest = snapshot.manifest
        self.snapshot_id = snapshot.id
        self.modalities = [modality.name for modality in manifest.modalities]
        self.terms = [TermHead(t.name, t.role, _shares(t.modalities)) for t in manifest.terms]
        self.popular_term = TermHead("popularity", "base", {self.modalities[0]: 1.0})
        self.faithfulness: dict[str, Any] = dict(manifest.explanation)
        """The measured quality of explanations, as the manifest states it."""
        self._items = snapshot.items

    def heads(self, strategy: str) -> list[TermHead]:
        """The terms of answers made by this strategy."""
        return [self.popular_term] if strategy == "popular" else self.terms

    def item_row(self, item_id: str) -> int | None:
        """The row of an item of the snapshot; None if unknown."""
        return self._items.ids.row_of(item_id)

    def display(self, row: int) -> Display:
        """What answers print of the item at a row of the snapshot."""
        item = self._items.item(row)
        return Display(item.item_id, item.title, item.image)


def _shares(shares: dict[str, float | None]) -> dict[str, float]:
    return {name: round(float(share), 6) for name, share in shares.items() if share is not None}
