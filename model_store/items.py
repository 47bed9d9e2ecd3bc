"""What is known about items beyond numbers, in three forms of the same content.

`items.parquet` is for people and other tools. For a service, `item_records_*` holds one small JSON object per item in
memory-mapped bytes (found by row, nothing loaded up front), and `category_*` lists the items of every category.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_store.errors import InvalidContent, SnapshotCorrupt
from model_store.ids import IdTable, id_arrays


@dataclass(frozen=True)
class ItemColumns:
    """Columns of the item table, one entry per row; a column left out is empty for every item."""

    item_ids: Sequence[str]
    titles: Sequence[str | None] | None = None
    categories: Sequence[Sequence[str]] | None = None
    descriptions: Sequence[str | None] | None = None
    images: Sequence[str | None] | None = None
    """Hashes of pictures in the store's media, not file names."""


@dataclass(frozen=True)
class ItemInfo:
    """One item."""

    item_id: str
    title: str | None
    categories: tuple[str, ...]
    description: str | None
    image: str | None


def write_users_parquet(path: Path, user_ids: Sequence[str]) -> None:
    """Column `user_id`, in row order."""
    import pyarrow as pa  # here, because a service reads no Parquet: 36 MB less in each of its workers
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"user_id": pa.array(user_ids, pa.string())}), path)


def write_items_parquet(path: Path, items: ItemColumns) -> None:
    """Columns `item_id`, `title`, `categories` (list), `description`, `image`, in row order."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    titles, categories, descriptions, images = _full(items)
    columns = {
        "item_id": pa.array(items.item_ids, pa.string()),
        "title": pa.array(titles, pa.string()),
        "categories": pa.array([list(names) for names in categories], pa.list_(pa.string())),
        "description": pa.array(descriptions, pa.string()),
        "image": pa.array(images, pa.string()),
    }
    pq.write_table(pa.table(columns), path)


def item_arrays(items: ItemColumns) -> dict[str, NDArray[Any]]:
    """The arrays `item_records_*`, `categories_*` and `category_*` (see FORMAT.md); raises InvalidContent."""
    titles, categories, descriptions, images = _full(items)
    try:
        records = [
            json.dumps(
                {"title": title, "categories": list(names), "description": description, "image": image},
                ensure_ascii=False,
                separators=(",", ":"),
            ).encode()
            for title, names, description, image in zip(titles, categories, descriptions, images, strict=True)
        ]
    except (TypeError, UnicodeEncodeError) as error:
        raise InvalidContent(f"items: expected texts in valid Unicode, found {error}") from error
    offsets = np.zeros(len(records) + 1, np.int64)
    np.cumsum([len(record) for record in records], out=offsets[1:])
    rows_by_category: dict[str, list[int]] = {}
    for row, names in enumerate(categories):
        for name in dict.fromkeys(names):
            rows_by_category.setdefault(name, []).append(row)
    known = sorted(rows_by_category)
    indptr = np.zeros(len(known) + 1, np.int64)
    np.cumsum([len(rows_by_category[name]) for name in known], out=indptr[1:])
    return {
        "item_records_bytes": np.frombuffer(b"".join(records), np.uint8),
        "item_records_offsets": offsets,
        **id_arrays(known, "categories"),
        "category_indptr": indptr,
        "category_items": np.asarray([row for name in known for row in rows_by_category[name]], np.int32),
    }


class ItemTable:
    """The items of a snapshot by row, read where they are mapped: nothing else of it is held."""

    def __init__(self, ids: IdTable, offsets: NDArray[np.int64], records: NDArray[np.uint8]) -> None:
        """`offsets` (I+1,) say where in `records` each item's begins."""
        self.ids = ids
        self._offsets, self._records = offsets, records

    def item(self, row: int) -> ItemInfo:
        """One item; raises IndexError for a row outside 0..I-1, SnapshotCorrupt for what is no record."""
        item_id = self.ids.id_of(row)
        start, end = self._offsets[row : row + 2]
        return read_record(item_id, self._records[start:end].tobytes())


def read_record(item_id: str, record: bytes) -> ItemInfo:
    """One item from its JSON record; raises SnapshotCorrupt if it is none."""
    try:
        fields = json.loads(record)
        return ItemInfo(item_id, fields["title"], tuple(fields["categories"]), fields["description"], fields["image"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SnapshotCorrupt("arrays/item_records_bytes.npy", f"a record of {item_id!r}", repr(error)[:200]) from error


def _full(
    items: ItemColumns,
) -> tuple[Sequence[str | None], Sequence[Sequence[str]], Sequence[str | None], Sequence[str | None]]:
    n = len(items.item_ids)
    nothing: list[str | None] = [None] * n
    titles, descriptions, images = (items.titles or nothing, items.descriptions or nothing, items.images or nothing)
    categories: Sequence[Sequence[str]] = items.categories or [()] * n
    for name, column in (
        ("titles", titles),
        ("categories", categories),
        ("descriptions", descriptions),
        ("images", images),
    ):
        if len(column) != n:
            raise InvalidContent(f"items: expected {n} {name}, found {len(column)}")
    return titles, categories, descriptions, images
