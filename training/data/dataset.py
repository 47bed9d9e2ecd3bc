"""A whole dataset in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from training.data.features import FeatureMatrix
from training.data.interactions import Interactions
from training.data.items import ItemTable


@dataclass(frozen=True)
class Dataset:
    """U users, I items, their interactions and the items' content features by modality name."""

    name: str
    user_ids: list[str]
    items: ItemTable
    interactions: Interactions
    features: dict[str, FeatureMatrix]

    @property
    def n_users(self) -> int:
        """Return U."""
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        """Return I, cold items included."""
        return len(self.items.item_ids)


def load_dataset(
    directory: Path, *, min_rating: float | None = None, features_directory: Path | None = None
) -> Dataset:
    """Read a dataset directory; `features_directory` is searched for feature arrays besides `directory`."""
    raise NotImplementedError
