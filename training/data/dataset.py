"""A whole dataset in memory, and the reader of dataset directories."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.alignment import align_items, numeric_order
from training.data.features import FeatureMatrix, find_features, read_features, sidecar_of
from training.data.interactions import Interactions, find_interactions, read_interactions
from training.data.items import ItemTable

logger = logging.getLogger(__name__)


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
        return len(self.items)


def load_dataset(
    directory: Path,
    *,
    min_rating: float | None = None,
    features_directory: Path | None = None,
    made_features: bool = True,
) -> Dataset:
    """Read a dataset directory.

    `min_rating` keeps only interactions rated at least so high; users left without any are dropped, items stay. Feature
    arrays in `features_directory` take precedence over those of the same modality in `directory`. Without
    `made_features` those that `magnet-train features` made are left aside: it reads a dataset whose items have changed
    since. Raises DatasetError, naming file, line or row and column, on anything malformed.
    """
    file = read_interactions(find_interactions(directory), min_rating=min_rating)
    feature_paths = find_features(directory, *([features_directory] if features_directory else []))
    if not made_features:
        feature_paths = {name: path for name, path in feature_paths.items() if not sidecar_of(path).is_file()}
    items = align_items(directory, file, list(feature_paths.values()))
    user_ids = numeric_order(file.user_ids) or file.user_ids
    interactions = replace(
        file.interactions,
        user_row=_rows_of(file.user_ids, user_ids)[file.interactions.user_row],
        item_row=_rows_of(file.item_ids, items.item_ids)[file.interactions.item_row],
    )
    features = {name: read_features(name, path, len(items)) for name, path in feature_paths.items()}
    dataset = Dataset(directory.resolve().name, user_ids, items, interactions, features)
    logger.info(
        "%s: %d users, %d items, %d interactions, modalities %s",
        *(dataset.name, dataset.n_users, dataset.n_items, len(interactions), ", ".join(features) or "none"),
    )
    return dataset


def _rows_of(file_ids: list[str], ids: list[str]) -> NDArray[np.int32]:
    """Return the row in `ids` of each id of a file, by its code there."""
    row_of = {name: row for row, name in enumerate(ids)}
    return np.fromiter((row_of[name] for name in file_ids), dtype=np.int32, count=len(file_ids))
