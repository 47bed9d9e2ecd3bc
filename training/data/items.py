"""The item table: what is known about every item besides who took it."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model_store.ids import encode_id
from training.data.delimited import COMMA, TAB, read_delimited
from training.data.parquet import read_parquet
from training.data.tables import Column, Table
from training.errors import DatasetError

logger = logging.getLogger(__name__)

COLUMNS = (
    Column(("item_id", "itemID"), "id", required=True),
    Column(("title",), "text"),
    Column(("categories",), "text"),
    Column(("description",), "text"),
    Column(("image",), "text"),
)
"""What an item table may say; `itemID` is MMRec's name."""
ATOMIC_COLUMNS = (
    COLUMNS[0],
    Column(("title", "movie_title", "item_name", "name"), "text"),
    Column(("categories", "category", "class", "genre"), "text"),
    Column(("description",), "text"),
)
"""What RecBole's `.item` files call it; their lists are separated by spaces."""
PICTURE_FOLDERS = ("images", "posters")
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


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


def find_items(directory: Path) -> Path | None:
    """Return the item table's file, None where there is none. Raises DatasetError on several."""
    named = [path for path in (directory / "items.csv", directory / "items.parquet") if path.is_file()]
    found = [*named, *sorted(directory.glob("*.item"))]
    if len(found) > 1:
        raise DatasetError(directory, f"expected one item table, found {' and '.join(path.name for path in found)}")
    return found[0] if found else None


def read_items(path: Path) -> ItemTable:
    """Read an item table; its order is the order of item rows. Raises DatasetError on anything malformed."""
    atomic = path.suffix == ".item"  # RecBole's
    if path.suffix == ".parquet":
        table = read_parquet(path, COLUMNS)
    else:
        table = read_delimited(path, ATOMIC_COLUMNS if atomic else COLUMNS, TAB if atomic else COMMA)
    codes, item_ids = table.ids("item_id")
    if len(item_ids) != len(codes):
        counts = np.bincount(codes)
        first, second = np.flatnonzero(codes == np.argmax(counts > 1))[:2].tolist()
        raise table.error(
            f"expected every id once, found {item_ids[codes[first]]!r} already at {table.place_of(first)}",
            "item_id",
            second,
        )
    unknown: list[str | None] = [None] * len(codes)
    nothing: list[tuple[str, ...]] = [()] * len(codes)
    return ItemTable(
        item_ids=item_ids,
        titles=table.texts("title") if "title" in table else unknown,
        categories=_categories(table, " " if atomic else "|") if "categories" in table else nothing,
        descriptions=table.texts("description") if "description" in table else unknown,
        images=_named_pictures(table) if "image" in table else pictures_by_id(path.parent, item_ids),
    )


def bare_items(directory: Path, item_ids: list[str]) -> ItemTable:
    """Return a table of items of which nothing but the id, and perhaps a picture in `directory`, is known."""
    unknown: list[str | None] = [None] * len(item_ids)
    return ItemTable(item_ids, unknown, [()] * len(item_ids), unknown, pictures_by_id(directory, item_ids))


def with_more_items(items: ItemTable, more: ItemTable) -> ItemTable:
    """Return `items` followed by `more`."""
    return ItemTable(
        items.item_ids + more.item_ids,
        items.titles + more.titles,
        items.categories + more.categories,
        items.descriptions + more.descriptions,
        items.images + more.images,
    )


def pictures_by_id(directory: Path, item_ids: list[str]) -> list[Path | None]:
    """Return each item's `images/{item_id}.jpg|jpeg|png|webp` (or in `posters/`), None where there is none.

    Names are looked up in a listing, never joined to a path, so an id with slashes cannot lead out of the folder.
    """
    pictures: dict[str, Path] = {}
    for folder in (directory / name for name in PICTURE_FOLDERS):
        if folder.is_dir():
            for path in folder.iterdir():
                if path.suffix.lower() in PICTURE_SUFFIXES:
                    best = pictures.get(path.stem)
                    if best is None or (best.parent == folder and _preference(path) < _preference(best)):
                        pictures[path.stem] = path
    return [pictures.get(item_id) for item_id in item_ids]


def _preference(path: Path) -> tuple[int, str]:
    return PICTURE_SUFFIXES.index(path.suffix.lower()), path.name


def _is_inside(directory: Path, path: Path) -> bool:
    """Whether it is a file of the dataset: an item table from elsewhere must not publish what else is on the disk.

    Links within the dataset are its owner's, and followed.
    """
    try:
        return path.is_file() and Path(os.path.normpath(path)).is_relative_to(os.path.normpath(directory))
    except OSError:  # a name that no file can have
        return False


def _named_pictures(table: Table) -> list[Path | None]:
    directory = table.path.parent
    named = [None if name is None else directory / name for name in table.texts("image")]
    pictures = [path if path is not None and _is_inside(directory, path) else None for path in named]
    absent = [record for record, path in enumerate(named) if path is not None and pictures[record] is None]
    if absent:
        logger.warning(
            "%s: %d pictures of the item table are not in the dataset and count as missing, the first is %s at %s",
            *(table.path, len(absent), named[absent[0]], table.place_of(absent[0])),
        )
    return pictures


def _categories(table: Table, separator: str) -> list[tuple[str, ...]]:
    """Each item's categories, whose names are held to the rule of ids; raises DatasetError at one that is too long."""
    found: list[tuple[str, ...]] = []
    known: set[str] = set()
    for record, text in enumerate(table.texts("categories")):
        parts = (name.strip() for name in (text or "").split(separator))
        names = tuple(dict.fromkeys(name for name in parts if name))
        for name in set(names) - known:
            try:
                encode_id(name)
            except ValueError as error:
                raise table.error(f"a category's name: {error}", "categories", record) from error
        known.update(names)
        found.append(names)
    return found
