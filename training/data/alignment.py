"""Which item stands in which row: the one rule that ties item table, feature arrays and interactions together.

1. With an item table, rows follow its order, and so do those of feature arrays. Items that only the interactions know
   come after it; an array may stop at the table's end, they have no features then.
2. Without one, foreign feature arrays align by number as in MMRec: ids are the integers 0..n-1 and the row is the id.
3. Without either, integers 0..n-1 still keep their number; all other ids take rows in order of first appearance, and so
   do the arrays that `magnet-train features` made from pictures (they have a sidecar).
"""

from __future__ import annotations

import logging
from pathlib import Path

from training.data.features import open_features, sidecar_of
from training.data.interactions import InteractionFile
from training.data.items import ItemTable, bare_items, find_items, read_items, with_more_items
from training.errors import DatasetError

logger = logging.getLogger(__name__)


def align_items(directory: Path, file: InteractionFile, feature_paths: list[Path]) -> ItemTable:
    """Return all items of a dataset in row order. Raises DatasetError where a feature array does not fit them."""
    lengths = {path: len(open_features(path)) for path in feature_paths}
    table_path = find_items(directory)
    if table_path is not None:
        items = read_items(table_path)
        known = set(items.item_ids)
        unlisted = [item_id for item_id in file.item_ids if item_id not in known]
        for path, length in lengths.items():
            if length not in (len(items), len(items) + len(unlisted)):
                raise _other_length(directory, path, f"{len(items)} items of {table_path.name}", length)
        if lengths and items.item_ids != (numbered := numeric_order(items.item_ids)) and numbered is not None:
            logger.warning(
                "%s numbers its items 0..%d in another order: feature rows follow its lines, not its numbers",
                *(table_path, len(items) - 1),
            )
        if unlisted:
            logger.warning(
                "%s: %d items are not in %s, so nothing is known of their texts; the first is %r",
                *(file.table.path, len(unlisted), table_path.name, unlisted[0]),
            )
            items = with_more_items(items, bare_items(directory, unlisted))
        return items
    if any(not sidecar_of(path).is_file() for path in lengths):
        return bare_items(directory, _numbers_up_to(_common_length(lengths), next(iter(lengths)), file))
    items = bare_items(directory, numeric_order(file.item_ids) or file.item_ids)
    for path, length in lengths.items():
        if length != len(items):
            raise _other_length(directory, path, f"{len(items)} items", length)
    return items


def _other_length(directory: Path, path: Path, wanted: str, length: int) -> DatasetError:
    """The error of an array whose rows are not the items'; one that was made here can be made again."""
    problem = f"expected a row for each of the {wanted}, found {length} rows"
    if sidecar_of(path).is_file():
        out = "" if path.parent == directory else f" --out {path.parent}"
        problem += f"; run `magnet-train features --data {directory}{out}` again"
    return DatasetError(path, problem)


def numeric_order(ids: list[str]) -> list[str] | None:
    """Return distinct `ids` by number where they are exactly the integers 0..n-1 in plain decimal form, else None."""
    numbers = [str(number) for number in range(len(ids))]
    return numbers if set(numbers) == set(ids) else None


def _common_length(lengths: dict[Path, int]) -> int:
    (first, length), *others = lengths.items()
    for path, other in others:
        if other != length:
            raise DatasetError(path, f"expected {length} rows like {first.name}, found {other}")
    return length


def _numbers_up_to(n_items: int, path: Path, file: InteractionFile) -> list[str]:
    numbers = [str(number) for number in range(n_items)]
    known = set(numbers)
    for code, item_id in enumerate(file.item_ids):
        if item_id not in known:
            problem = (
                f"expected an id from 0 to {n_items - 1}, a row of {path.name}, as there is no items.csv to name rows"
            )
            raise file.error_at_item(f"{problem}; found {item_id!r}", code)
    return numbers
