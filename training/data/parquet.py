"""Parquet files: columns with types of their own, so problems are named by row instead of line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import compute

from training.data.tables import Column, Table, match_columns
from training.errors import DatasetError

EXPECTED = {"number": "numbers", "id": "text or integers", "text": "text"}
PER_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}


def read_parquet(path: Path, columns: Sequence[Column]) -> Table:
    """Read the wanted columns. Raises DatasetError on a damaged file or a column of the wrong type."""
    try:
        with pq.ParquetFile(path) as file:
            header = file.schema_arrow.names
            positions = match_columns(path, header, columns)
            names = {meaning: header[position] for meaning, position in positions.items()}
            table = file.read(columns=list(names.values()))
        table.validate(full=True)
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise DatasetError(path, f"expected a readable Parquet file: {error}") from error
    if table.num_rows == 0:
        raise DatasetError(path, "expected at least one row, found none")
    by_meaning = {column.meaning: column for column in columns}
    return Table(
        path=path,
        columns={meaning: _converted(path, table.column(name), by_meaning[meaning]) for meaning, name in names.items()},
        file_names=names,
        place_of=lambda record: f"row {record + 1}",
    )


def _converted(path: Path, values: pa.ChunkedArray[Any], column: Column) -> pa.ChunkedArray[Any]:
    try:
        return _as_kind(path, values, column)
    except pa.ArrowException as error:
        expected = EXPECTED[column.kind]
        raise DatasetError(path, f"expected {expected}, found {values.type}: {error}", column=column.meaning) from error


def _as_kind(path: Path, values: pa.ChunkedArray[Any], column: Column) -> pa.ChunkedArray[Any]:
    kind = values.type
    if pa.types.is_dictionary(kind):
        values = values.cast(kind.value_type)
        kind = values.type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    if column.kind == "number":
        if pa.types.is_timestamp(kind):
            counts = values.cast(pa.int64()).cast(pa.float64(), safe=False)  # nanoseconds exceed a double's integers
            return compute.divide(counts, PER_SECOND[kind.unit])
        if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            return values.cast(pa.float64(), safe=False)
    elif is_text or pa.types.is_null(kind) or (column.kind == "id" and pa.types.is_integer(kind)):
        return values.cast(pa.string())
    elif column.kind == "text" and (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return cast("pa.ChunkedArray[Any]", compute.binary_join(values.cast(pa.list_(pa.string())), "|"))
    raise DatasetError(path, f"expected {EXPECTED[column.kind]}, found the type {kind}", column=column.meaning)
