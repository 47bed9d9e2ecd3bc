"""What is said about the snapshots in the store."""

from __future__ import annotations

from service.schemas.answers import Document


class StoredSnapshot(Document):
    """A snapshot in the store."""

    snapshot: str
    """Its id."""
    current: bool
    """Whether the store's pointer names it."""
    model: str | None = None
    """The model's name; this and what follows is null where the snapshot is damaged."""
    dataset: str | None = None
    """The data it was trained on."""
    created_at: str | None = None
    """When it was exported."""
    recall: float | None = None
    """Recall@20 on the test part, where it was measured."""
    problem: str | None = None
    """What is wrong with it, where it cannot be read."""


class Snapshots(Document):
    """The store's snapshots."""

    snapshots: list[StoredSnapshot]
    """Newest first."""
