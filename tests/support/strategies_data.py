"""Hypothesis strategies for dataset directories, and writers of the files in them."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from training.data.dataset import Dataset
from training.data.interactions import Interactions
from training.data.items import bare_items

any_ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
"""Ids as hostile as UTF-8 allows: quotes, delimiters, line ends, NUL, bidirectional marks."""
one_line_ids = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\r\n"), min_size=1, max_size=12)
"""Ids that a format without quotes can hold."""
plain_ids = st.text("abc-_./é字'", min_size=1, max_size=6)
ratings = st.floats(0.5, 5, width=32)
timestamps = st.integers(0, 2**37)


@dataclass(frozen=True)
class Row:
    """One interaction as a file says it."""

    user_id: str
    item_id: str
    rating: float
    timestamp: int
    x_label: int


def rows(ids: st.SearchStrategy[str], *, min_size: int = 1, max_size: int = 20) -> st.SearchStrategy[list[Row]]:
    """Return lists of interactions; few distinct ids, so that users and items come again."""
    row = st.builds(Row, ids, ids, ratings, timestamps, st.integers(0, 2))
    return st.lists(row, min_size=min_size, max_size=max_size)


COLUMNS = ("user_id", "item_id", "rating", "timestamp", "x_label")


def cells(interactions: Sequence[Row]) -> list[list[str]]:
    """Return the interactions as text cells without a header."""
    return [[r.user_id, r.item_id, repr(r.rating), str(r.timestamp), str(r.x_label)] for r in interactions]


def csv_bytes(
    header: Sequence[str],
    body: Sequence[Sequence[str]],
    *,
    quote_all: bool = False,
    crlf: bool = False,
    bom: bool = False,
) -> bytes:
    """Return a comma-separated file; the csv module does not quote a bare CR by itself, so one makes it quote all."""
    file = io.StringIO()
    quote_all = quote_all or any("\r" in cell for line in body for cell in line)
    line_end = "\r\n" if crlf else "\n"
    writer = csv.writer(file, quoting=csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL, lineterminator=line_end)
    writer.writerows([header, *body])
    return file.getvalue().encode("utf-8-sig" if bom else "utf-8")


def inter_bytes(header: Sequence[str], body: Sequence[Sequence[str]]) -> bytes:
    """Return a tab-separated file in which nothing is quoted."""
    return "".join("\t".join(line) + "\n" for line in (header, *body)).encode()


def write_parquet(path: Path, interactions: Sequence[Row]) -> None:
    """Write the interactions with the types a user's table would have."""
    columns = {
        "user_id": pa.array([r.user_id for r in interactions], pa.string()),
        "item_id": pa.array([r.item_id for r in interactions], pa.large_string()).dictionary_encode(),
        "rating": pa.array([r.rating for r in interactions], pa.float32()),
        "timestamp": pa.array([r.timestamp for r in interactions], pa.int64()),
        "x_label": pa.array([r.x_label for r in interactions], pa.int8()),
    }
    pq.write_table(pa.table(columns), path)


@st.composite
def datasets(draw: st.DrawFn, *, timed: bool = True, labelled: bool = False, min_size: int = 30) -> Dataset:
    """Return datasets in memory with repeated pairs, equal times, users of few and of many positives."""
    n_users, n_items = draw(st.integers(1, 8)), draw(st.integers(10, 25))
    size = draw(st.integers(min_size, 120))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    interactions = Interactions(
        user_row=generator.integers(n_users, size=size).astype(np.int32),
        item_row=generator.integers(n_items, size=size).astype(np.int32),
        timestamp=generator.integers(0, draw(st.integers(10, 500)), size=size).astype(np.float64) if timed else None,
        given_split=generator.integers(3, size=size).astype(np.int8) if labelled else None,
    )
    users = [f"u{row}" for row in range(n_users)]
    items = bare_items(Path("nowhere"), [f"i{row}" for row in range(n_items)])
    return Dataset("drawn", users, items, interactions, {})
