"""A tabular file in memory: Arrow columns by what they mean, and where each record stands in the file.

Columns are asked for by meaning; the names a file may use for them (ours, RecBole's, MMRec's) are aliases. Records stay
in Arrow and NumPy: only distinct ids and the columns of the item table ever become Python strings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from model_store.ids import encode_id
from training.errors import DatasetError

ColumnKind = Literal["id", "text", "number"]


@dataclass(frozen=True)
class Column:
    """One column that a file may have; `names` are tried in order and the first is the one that errors mention."""

    names: tuple[str, ...]
    kind: ColumnKind
    required: bool = False

    @property
    def meaning(self) -> str:
        """Return the name this column goes by here."""
        return self.names[0]


@dataclass(frozen=True)
class Table:
    """N records of a file; `columns` and `file_names` are keyed by `Column.meaning`."""

    path: Path
    columns: dict[str, pa.ChunkedArray[Any]]
    file_names: dict[str, str]
    place_of: Callable[[int], str]
    """Names the place of a record (0-based), as in "line 7"; may scan the file again, so only for messages."""

    def __len__(self) -> int:
        """Return N."""
        return len(next(iter(self.columns.values())))

    def __contains__(self, meaning: str) -> bool:
        return meaning in self.columns

    def error(self, problem: str, meaning: str, record: int) -> DatasetError:
        """Return the error that names file, place and column."""
        return DatasetError(self.path, problem, place=self.place_of(record), column=self.file_names[meaning])

    def numbers(self, meaning: str) -> NDArray[np.float64]:
        """Return (N,) finite numbers. Raises DatasetError at the first that is absent or not finite."""
        values: NDArray[np.float64] = self.columns[meaning].to_numpy().astype(np.float64, copy=False)
        bad = ~np.isfinite(values)
        if bad.any():
            record = int(np.argmax(bad))
            found = self.columns[meaning][record].as_py()
            raise self.error(
                f"expected a finite number, found {'nothing' if found is None else found}", meaning, record
            )
        return values

    def ids(self, meaning: str) -> tuple[NDArray[np.int32], list[str]]:
        """Return (N,) codes and the distinct ids they stand for, in order of first appearance.

        Raises DatasetError at an empty id and at one that no snapshot can have.
        """
        column = self.columns[meaning]
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        chunks: list[Any] = column.unify_dictionaries().chunks
        codes = np.concatenate([chunk.indices.fill_null(-1).to_numpy() for chunk in chunks]).astype(
            np.int32, copy=False
        )
        names: list[str | None] = chunks[0].dictionary.to_pylist()
        empty = [code for code, name in enumerate(names) if not name]
        bad = np.isin(codes, [*empty, -1])
        if bad.any():
            raise self.error("expected an id, found nothing", meaning, int(np.argmax(bad)))
        found = [name for name in names if name is not None]
        for code, name in enumerate(found):
            try:
                encode_id(name)
            except ValueError as error:
                raise self.error(str(error), meaning, int(np.argmax(codes == code))) from error
        return codes, found

    def texts(self, meaning: str) -> list[str | None]:
        """Return N texts, None where the cell is empty or blank."""
        values: list[str | None] = self.columns[meaning].to_pylist()
        return [value if value and not value.isspace() else None for value in values]


def match_columns(path: Path, found: Sequence[str], wanted: Sequence[Column]) -> dict[str, int]:
    """Return the position in `found` of each wanted column. Raises DatasetError on absent or doubled ones."""
    plain = [name.strip().split(":", 1)[0] for name in found]  # RecBole writes "user_id:token"
    positions: dict[str, int] = {}
    for column in wanted:
        hits = [position for position, name in enumerate(plain) if name in column.names]
        if len(hits) > 1:
            named = " and ".join(repr(found[hit]) for hit in hits)
            raise DatasetError(path, f"expected one column {column.meaning!r}, found {named}", place="header")
        if not hits and column.required:
            listed = ", ".join(repr(name) for name in found[:20])
            accepted = " or ".join(repr(name) for name in column.names)
            raise DatasetError(
                path, f"expected a column named {accepted}, found {listed}", place="header", column=column.meaning
            )
        if hits:
            positions[column.meaning] = hits[0]
    return positions
