"""Writes a draft, the serving graphs and the item pictures into the store, and publishes the snapshot."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from model_store.draft import SnapshotDraft
from model_store.errors import StoreError
from model_store.items import ItemColumns
from model_store.media import add_picture
from model_store.write import SnapshotWriter
from training.data.dataset import Dataset
from training.data.items import ItemTable

logger = logging.getLogger(__name__)


def publish(root: Path, draft: SnapshotDraft, dataset: Dataset, files: Mapping[str, bytes]) -> str:
    """Write the snapshot and return its id; it is not promoted here.

    Raises:
        StoreError: nothing is visible in the store then.

    """
    with SnapshotWriter(root, draft.manifest) as writer:
        for name, array in draft.arrays.items():
            writer.add_array(name, array)
        if draft.parameters:
            writer.add_parameters(dict(draft.parameters))
        writer.add_users(dataset.user_ids)
        writer.add_items(item_columns(root, dataset.items))
        for name, content in files.items():
            writer.add_file(name, content)
        return writer.publish()


def item_columns(root: Path, items: ItemTable) -> ItemColumns:
    """The item table with pictures replaced by the hashes of their thumbnails, which are put into the store's media."""
    return ItemColumns(
        item_ids=items.item_ids,
        titles=items.titles,
        categories=items.categories,
        descriptions=items.descriptions,
        images=[None if image is None else _thumbnail(root, image) for image in items.images],
    )


def _thumbnail(root: Path, image: Path) -> str | None:
    try:
        return add_picture(root, image)
    except (StoreError, OSError) as error:
        logger.warning("no thumbnail of %s: %s", image, error)
        return None
