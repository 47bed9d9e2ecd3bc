"""Delimited text files (`.csv`, `.inter`): Arrow reads them in bulk.

Arrow is fast and says too little about where a file is broken, so after a failure `complain` walks the file with the
csv module and names line and column.
"""

from __future__ import annotations

import csv
import io
import itertools
import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from training.data.tables import Column, ColumnKind, Table, match_columns
from training.errors import DatasetError

ARROW_TYPES: dict[ColumnKind, pa.DataType] = {
    "id": pa.dictionary(pa.int32(), pa.string()),
    "text": pa.string(),
    "number": pa.float64(),
}
BLOCK_BYTES = 8 << 20
LARGEST_BLOCK_BYTES = (1 << 31) - 1  # Arrow counts a block's bytes in an int32


@dataclass(frozen=True)
class Dialect:
    """How cells are told apart; quoted cells may hold delimiters and line ends."""

    delimiter: str
    quoted: bool


COMMA = Dialect(",", quoted=True)
TAB = Dialect("\t", quoted=False)  # RecBole and MMRec never quote, so a quote is a character like any other


def read_delimited(path: Path, columns: Sequence[Column], dialect: Dialect) -> Table:
    """Read the wanted columns. Raises DatasetError naming line and column of what is malformed."""
    header = _header(path, dialect)
    positions = match_columns(path, header, columns)
    by_meaning = {column.meaning: column for column in columns}
    names = {meaning: header[position] for meaning, position in positions.items()}
    types = {names[meaning]: ARROW_TYPES[by_meaning[meaning].kind] for meaning in positions}
    try:
        table = _read_with_arrow(path, dialect, types)
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        wanted = {position: by_meaning[meaning] for meaning, position in positions.items()}
        raise complain(path, dialect, header, wanted, str(error)) from error
    if table.num_rows == 0:
        raise DatasetError(path, "expected at least one record under the header, found none")
    return Table(
        path=path,
        columns={meaning: table.column(name) for meaning, name in names.items()},
        file_names=names,
        place_of=lambda record: _place_of(path, dialect, record),
    )


def _read_with_arrow(path: Path, dialect: Dialect, types: dict[str, pa.DataType]) -> pa.Table:
    block = BLOCK_BYTES
    while True:
        try:
            return arrow_csv.read_csv(
                path,
                read_options=arrow_csv.ReadOptions(block_size=block),
                parse_options=arrow_csv.ParseOptions(
                    delimiter=dialect.delimiter,
                    quote_char='"' if dialect.quoted else False,
                    newlines_in_values=dialect.quoted and _holds_quotes(path),
                ),
                convert_options=arrow_csv.ConvertOptions(
                    column_types=types, include_columns=list(types), null_values=[""], strings_can_be_null=False
                ),
            )
        except pa.ArrowInvalid as error:
            if "straddling" not in str(error) or block == LARGEST_BLOCK_BYTES:
                raise
            block = min(block * 16, LARGEST_BLOCK_BYTES)  # a single record larger than a block


def _holds_quotes(path: Path) -> bool:
    """Line ends inside cells force Arrow to cut blocks with care; without quotes there are none."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(b'"') >= 0


def _header(path: Path, dialect: Dialect) -> list[str]:
    try:
        with path.open("rb") as file:
            start = file.read(1 << 20)
    except OSError as error:
        raise DatasetError(path, f"expected a readable file: {error.strerror}") from error
    if not start.strip():
        raise DatasetError(path, "expected a header line, found an empty file")
    try:
        text = start.decode("utf-8-sig", errors="surrogateescape")  # only the header has to be sound here
        first = next(_records(io.StringIO(text, newline=""), dialect), None)
    except csv.Error as error:
        raise DatasetError(path, f"expected a header line: {error}", place="header") from error
    if first is None:
        raise DatasetError(path, "expected a header line, found an empty file")
    if any("\udc80" <= character <= "\udcff" for cell in first[1] for character in cell):
        raise _not_utf8(path, dialect, [])
    return first[1]


def _records(file: io.TextIOBase, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number of its first line, cells) of every record; blank lines are no records."""
    reader = csv.reader(
        file, delimiter=dialect.delimiter, quoting=csv.QUOTE_MINIMAL if dialect.quoted else csv.QUOTE_NONE
    )
    line = 1
    for cells in reader:
        if cells:
            yield line, cells
        line = reader.line_num + 1


def _place_of(path: Path, dialect: Dialect, record: int) -> str:
    with path.open(encoding="utf-8-sig", newline="", errors="replace") as file:
        try:
            for line, _ in itertools.islice(_records(file, dialect), record + 1, record + 2):
                return f"line {line}"
        except csv.Error:
            pass  # a cell beyond the csv module's limit: its own count of records still names the place
    return f"record {record + 1}"


def complain(
    path: Path, dialect: Dialect, header: list[str], wanted: dict[int, Column], arrow_message: str
) -> DatasetError:
    """Return the error for a file that Arrow refused, with the line and column found by reading it line by line."""
    if "UTF8" in arrow_message:
        return _not_utf8(path, dialect, header)
    with path.open(encoding="utf-8-sig", newline="", errors="replace") as file:
        try:
            for line, cells in itertools.islice(_records(file, dialect), 1, None):
                place = f"line {line}"
                if len(cells) != len(header):
                    return DatasetError(path, f"expected {len(header)} cells, found {len(cells)}", place=place)
                for position, column in wanted.items():
                    if column.kind == "number" and not _is_number(cells[position]):
                        found = repr(cells[position][:80]) if cells[position] else "nothing"
                        return DatasetError(
                            path, f"expected a number, found {found}", place=place, column=header[position]
                        )
        except csv.Error:
            pass  # Arrow's own words have to do
    return DatasetError(path, f"expected {len(header)} well-formed cells per line: {arrow_message[:500]}")


def _is_number(cell: str) -> bool:
    try:
        return "_" not in cell and bool(np.isfinite(float(cell)))
    except ValueError:
        return False


def _not_utf8(path: Path, dialect: Dialect, header: list[str]) -> DatasetError:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                before = line[: error.start].decode("utf-8").count(dialect.delimiter)
                column = header[before] if before < len(header) else None
                problem = f"expected UTF-8 text, found byte 0x{line[error.start]:02x}"
                return DatasetError(path, problem, place=f"line {number}", column=column)
    return DatasetError(path, "expected UTF-8 text")
