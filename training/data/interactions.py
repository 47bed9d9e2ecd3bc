"""Interactions: who took which item, when, how rated, in which given part."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model_store.events import LATEST
from training.data.delimited import COMMA, TAB, read_delimited
from training.data.parquet import read_parquet
from training.data.tables import Column, Table
from training.errors import DatasetError

COLUMNS = (
    Column(("user_id", "userID"), "id", required=True),
    Column(("item_id", "itemID"), "id", required=True),
    Column(("rating",), "number"),
    Column(("timestamp",), "number"),
    Column(("x_label",), "number"),
)
"""What a file of interactions may say; the second names are MMRec's."""


@dataclass(frozen=True)
class Interactions:
    """N interactions in file order; duplicates of a (user, item) pair are still apart here."""

    user_row: NDArray[np.int32]
    """(N,) index into `Dataset.user_ids`."""
    item_row: NDArray[np.int32]
    """(N,) index into `ItemTable.item_ids`."""
    timestamp: NDArray[np.float64] | None = None
    """(N,) seconds since the epoch; None where the file has no times."""
    rating: NDArray[np.float32] | None = None
    """(N,) explicit ratings in the file's own scale; None where the file has none."""
    given_split: NDArray[np.int8] | None = None
    """(N,) x_label: 0 train, 1 valid, 2 test; None where the file has none."""

    def __len__(self) -> int:
        """Return N."""
        return len(self.user_row)


@dataclass(frozen=True)
class InteractionFile:
    """Interactions as a file has them: rows here are codes into the distinct ids in order of first appearance.

    Users without a kept interaction are dropped; items never are, so that `min_rating` moves no item to another row.
    """

    table: Table
    interactions: Interactions
    user_ids: list[str]
    item_ids: list[str]

    def error_at_item(self, problem: str, code: int) -> DatasetError:
        """Return the error that points at the first interaction with the item of this code."""
        item_codes, _ = self.table.ids("item_id")
        return self.table.error(problem, "item_id", int(np.argmax(item_codes == code)))


def find_interactions(directory: Path) -> Path:
    """Return the one file of interactions of a dataset directory. Raises DatasetError on none and on several."""
    if not directory.is_dir():
        raise DatasetError(
            directory, "expected a dataset directory, found " + ("a file" if directory.exists() else "none")
        )
    named = [directory / name for name in ("interactions.csv", "interactions.parquet")]
    found = [*sorted(directory.glob("*.inter")), *(path for path in named if path.is_file())]
    if len(found) != 1:
        listed = ", ".join(path.name for path in found) or "none"
        raise DatasetError(
            directory, f"expected one of *.inter, interactions.csv and interactions.parquet, found {listed}"
        )
    return found[0]


def read_interactions(path: Path, *, min_rating: float | None = None) -> InteractionFile:
    """Read a file of interactions; `min_rating` drops those rated lower. Raises DatasetError on anything malformed."""
    if path.suffix == ".parquet":
        table = read_parquet(path, COLUMNS)
    else:
        table = read_delimited(path, COLUMNS, TAB if path.suffix == ".inter" else COMMA)
    user_codes, user_ids = table.ids("user_id")
    item_codes, item_ids = table.ids("item_id")
    timestamp = _timestamps(table) if "timestamp" in table else None
    rating = _ratings(table) if "rating" in table else None
    given_split = _given_split(table) if "x_label" in table else None
    if min_rating is not None:
        if rating is None:
            raise DatasetError(path, f"expected a column 'rating' to keep ratings of at least {min_rating}, found none")
        kept = np.flatnonzero(rating >= min_rating)
        if len(kept) == 0:
            raise DatasetError(
                path, f"expected ratings of at least {min_rating}, the highest is {rating.max():g}", column="rating"
            )
        user_codes, user_ids = _recode(user_codes[kept], user_ids)
        item_codes = item_codes[kept]
        rating = rating[kept]
        timestamp = None if timestamp is None else timestamp[kept]
        given_split = None if given_split is None else given_split[kept]
    interactions = Interactions(
        user_row=user_codes,
        item_row=item_codes,
        timestamp=timestamp,
        rating=None if rating is None else rating.astype(np.float32),
        given_split=given_split,
    )
    return InteractionFile(table, interactions, user_ids, item_ids)


def _timestamps(table: Table) -> NDArray[np.float64]:
    times = table.numbers("timestamp")
    bad = times > LATEST
    if bad.any():
        record = int(np.argmax(bad))
        problem = f"expected Unix seconds, found {times[record]:.0f}: milliseconds, divide by 1000?"
        raise table.error(problem, "timestamp", record)
    return times


def _ratings(table: Table) -> NDArray[np.float64]:
    ratings = table.numbers("rating")
    bad = np.abs(ratings) > np.finfo(np.float32).max
    if bad.any():
        record = int(np.argmax(bad))
        raise table.error(f"expected a number in single precision, found {ratings[record]:g}", "rating", record)
    return ratings


def _given_split(table: Table) -> NDArray[np.int8]:
    labels = table.numbers("x_label")
    bad = ~np.isin(labels, (0, 1, 2))
    if bad.any():
        record = int(np.argmax(bad))
        raise table.error(f"expected 0 train, 1 valid or 2 test, found {labels[record]:g}", "x_label", record)
    return labels.astype(np.int8)


def _recode(codes: NDArray[np.int32], names: list[str]) -> tuple[NDArray[np.int32], list[str]]:
    """Drop the names without a code; the others keep their order of first appearance in the whole file."""
    used = np.bincount(codes, minlength=len(names)) > 0
    new_code = np.cumsum(used, dtype=np.int64).astype(np.int32) - np.int32(1)
    return new_code[codes], [name for name, keep in zip(names, used, strict=True) if keep]
