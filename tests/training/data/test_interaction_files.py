"""Files of interactions: what is written comes back, and what is broken is named by file, line and column."""

import tempfile
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.strategies_data import (
    COLUMNS,
    Row,
    any_ids,
    cells,
    csv_bytes,
    inter_bytes,
    one_line_ids,
    plain_ids,
    rows,
    write_parquet,
)
from training.config import RunConfig
from training.data.dataset import Dataset, load_dataset
from training.data.delimited import BLOCK_BYTES
from training.errors import DatasetError
from training.pipeline import read

RECBOLE_HEADER = ("user_id:token", "item_id:token", "rating:float", "timestamp:float", "x_label:float")


def load_file(name: str, content: bytes, min_rating: float | None = None) -> Dataset:
    """Load a dataset directory with this one file."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(content)
        return load_dataset(Path(folder), min_rating=min_rating)


def error_of(name: str, content: bytes, min_rating: float | None = None) -> DatasetError:
    with pytest.raises(DatasetError) as caught:
        load_file(name, content, min_rating)
    return caught.value


def assert_says(dataset: Dataset, expected: list[Row]) -> None:
    got = dataset.interactions
    assert [dataset.user_ids[row] for row in got.user_row] == [r.user_id for r in expected]
    assert [dataset.items.item_ids[row] for row in got.item_row] == [r.item_id for r in expected]
    assert got.rating is not None
    assert got.rating.tolist() == [r.rating for r in expected]
    assert got.timestamp is not None
    assert got.timestamp.tolist() == [r.timestamp for r in expected]
    assert got.given_split is not None
    assert got.given_split.tolist() == [r.x_label for r in expected]
    assert len(set(dataset.user_ids)) == dataset.n_users == len({r.user_id for r in expected})


@given(rows(any_ids), st.booleans(), st.booleans(), st.booleans())
def test_csv_comes_back(expected: list[Row], quote_all: bool, crlf: bool, bom: bool) -> None:
    content = csv_bytes(COLUMNS, cells(expected), quote_all=quote_all, crlf=crlf, bom=bom)
    assert_says(load_file("interactions.csv", content), expected)


@given(rows(one_line_ids), st.sampled_from([COLUMNS, RECBOLE_HEADER]))
def test_inter_comes_back(expected: list[Row], header: tuple[str, ...]) -> None:
    assert_says(load_file("any name.inter", inter_bytes(header, cells(expected))), expected)


@given(rows(any_ids))
def test_parquet_comes_back(expected: list[Row]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_parquet(Path(folder) / "interactions.parquet", expected)
        assert_says(load_dataset(Path(folder)), expected)


def test_mmrec_header_and_columns_in_any_order() -> None:
    dataset = load_file("baby.inter", b"x_label\titemID\tignored\tuserID\n0\t1\t?\t0\n2\t0\t?\t0\n")
    assert dataset.interactions.user_row.tolist() == [0, 0]
    assert dataset.interactions.item_row.tolist() == [1, 0]
    assert dataset.interactions.given_split is not None
    assert dataset.interactions.given_split.tolist() == [0, 2]
    assert dataset.interactions.timestamp is None
    assert dataset.interactions.rating is None


def test_integers_without_gaps_keep_their_number_as_row() -> None:
    dataset = load_file("a.inter", b"userID\titemID\n1\t2\n0\t0\n1\t1\n")
    assert dataset.user_ids == ["0", "1"]
    assert dataset.items.item_ids == ["0", "1", "2"]
    assert dataset.interactions.item_row.tolist() == [2, 0, 1]


@pytest.mark.parametrize("ids", [("01", "0"), ("1", "2"), ("99999999999999999999999", "0")])
def test_other_ids_take_rows_in_order_of_appearance(ids: tuple[str, str]) -> None:
    dataset = load_file("a.inter", f"userID\titemID\nu\t{ids[0]}\nu\t{ids[1]}\n".encode())
    assert dataset.items.item_ids == list(ids)


def test_parquet_takes_integer_ids_and_dates() -> None:
    with tempfile.TemporaryDirectory() as folder:
        day = np.array(["1970-01-02", "1970-01-01T00:00:01.5"], dtype="datetime64[ms]")
        table = pa.table({"user_id": [7, 7], "item_id": [2**60, 3], "timestamp": day})
        pq.write_table(table, Path(folder) / "interactions.parquet")
        dataset = load_dataset(Path(folder))
    assert dataset.items.item_ids == [str(2**60), "3"]
    assert dataset.interactions.timestamp is not None
    assert dataset.interactions.timestamp.tolist() == [86_400, 1.5]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_parquet_takes_times_of_every_unit(
    unit: Literal["s", "ms", "us", "ns"], zone: str | None, tmp_path: Path
) -> None:
    """Nanoseconds are pandas' own; seconds reach beyond what microseconds can count."""
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    seconds = [0, 1_700_000_000, 10**11 if unit == "s" else -5]
    counts = [second * per_second + (7 if unit == "ns" else 0) for second in seconds]
    times = pa.array(counts, pa.timestamp(unit, zone))
    table = pa.table({"user_id": ["u"] * 3, "item_id": ["a", "b", "c"], "timestamp": times})
    pq.write_table(table, tmp_path / "interactions.parquet")
    found = load_dataset(tmp_path).interactions.timestamp
    assert found is not None
    np.testing.assert_allclose(found, seconds, rtol=1e-15, atol=1e-8)


@pytest.mark.parametrize(
    ("label", "min_rating", "kept"),
    [
        ("", None, [4.0, 5.0]),
        ("\tx_label", None, [1.0, 3.0, 4.0, 5.0]),
        ("", 0.0, [1.0, 3.0, 4.0, 5.0]),
        ("\tx_label", 5.0, [5.0]),
    ],
)
def test_which_ratings_count(label: str, min_rating: float | None, kept: list[float], tmp_path: Path) -> None:
    """A given split, as MMRec's, was drawn over what counts; elsewhere low ratings are no choices unless asked for."""
    lines = [f"u\t{item}\t{rating}" + label.replace("x_label", "0") for item, rating in enumerate((1, 3, 4, 5))]
    (tmp_path / "a.inter").write_text("\n".join([f"userID\titemID\trating{label}", *lines]) + "\n")
    found = read(RunConfig(data=tmp_path, min_rating=min_rating)).interactions.rating
    assert found is not None
    assert found.tolist() == kept


def test_a_cell_larger_than_a_block_is_read() -> None:
    note = "x" * (BLOCK_BYTES + 1000)
    dataset = load_file("interactions.csv", f"user_id,item_id,note\nu,a,\nv,b,{note}\n".encode())
    assert dataset.user_ids == ["u", "v"]


BREAKS = {
    "cell missing": (None, "expected 5 cells, found 4"),
    "cell too many": (None, "expected 5 cells, found 6"),
    "no user": ("user_id", "found nothing"),
    "no item": ("item_id", "found nothing"),
    "word as rating": ("rating", "found 'good'"),
    "no rating": ("rating", "found nothing"),
    "rating not finite": ("rating", "found nan"),
    "word as time": ("timestamp", "found '2024-01-01'"),
    "unknown label": ("x_label", "found 3"),
}


@settings(max_examples=60)
@given(rows(plain_ids, min_size=1), st.sampled_from(sorted(BREAKS)), st.data(), st.booleans())
def test_what_is_broken_is_named(rest: list[Row], kind: str, data: st.DataObject, as_inter: bool) -> None:
    body = cells(rest)
    at = data.draw(st.integers(0, len(body) - 1))
    line = body[at]
    replaced = {
        "no user": (0, ""),
        "no item": (1, ""),
        "word as rating": (2, "good"),
        "no rating": (2, ""),
        "rating not finite": (2, "nan"),
        "word as time": (3, "2024-01-01"),
        "unknown label": (4, "3"),
    }
    if kind == "cell missing":
        line.pop()
    elif kind == "cell too many":
        line.append("0")
    else:
        line[replaced[kind][0]] = replaced[kind][1]
    name = "broken.inter" if as_inter else "interactions.csv"
    error = error_of(name, inter_bytes(COLUMNS, body) if as_inter else csv_bytes(COLUMNS, body))
    column, found = BREAKS[kind]
    assert error.path.name == name
    assert error.place == f"line {at + 2}"
    assert error.column == column
    assert found in str(error)


def test_lines_are_counted_past_blank_lines_and_line_ends_inside_cells() -> None:
    error = error_of("interactions.csv", b'user_id,item_id,rating\r\n"a\r\nb",i,1\r\n\r\nu,i,x\r\n')
    assert error.place == "line 5"
    error = error_of("interactions.csv", b'user_id,item_id,rating\n"a\nb",i,1\n\n,i,2\n')
    assert error.place == "line 5"


def test_text_in_another_encoding_is_named() -> None:
    error = error_of("interactions.csv", "user_id,item_id\nu,a\nu,Käse\n".encode("latin-1"))
    assert (error.place, error.column) == ("line 3", "item_id")
    assert "0xe4" in str(error)
    assert error_of("interactions.csv", "user_id,item_id\nu,a\n".encode("utf-16")).place == "line 1"


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_an_empty_file_says_so(content: bytes) -> None:
    assert "found an empty file" in str(error_of("interactions.csv", content))


def test_a_header_alone_says_so() -> None:
    assert "found none" in str(error_of("interactions.csv", b"user_id,item_id\n"))


def test_a_required_column_that_is_absent_or_doubled_is_named() -> None:
    error = error_of("interactions.csv", b"user_id,product\nu,i\n")
    assert error.column == "item_id"
    assert "'user_id', 'product'" in str(error)
    assert "'user_id' and 'userID'" in str(error_of("interactions.csv", b"user_id,userID,item_id\nu,v,i\n"))


@pytest.mark.parametrize("column", ["user_id", "item_id"])
def test_an_id_that_no_snapshot_can_have_is_named(column: str) -> None:
    """Bytes count, not characters."""
    ids = {"user_id": "u", "item_id": "i"}
    row = ",".join((ids | {column: "é" * 256}).values())
    load_file("interactions.csv", f"user_id,item_id\nu,i\n{row}\n".encode())
    row = ",".join((ids | {column: "é" * 256 + "x"}).values())
    error = error_of("interactions.csv", f"user_id,item_id\nu,i\n{row}\n".encode())
    assert (error.place, error.column) == ("line 3", column)
    assert "1 to 512 bytes, found 513" in str(error)


def test_times_in_milliseconds_are_named() -> None:
    """Beside events, which are in seconds, all of them would be the newest."""
    load_file("interactions.csv", b"user_id,item_id,timestamp\nu,i,1790000000\n")
    error = error_of("interactions.csv", b"user_id,item_id,timestamp\nu,i,3\nu,j,1790000000000\n")
    assert (error.place, error.column) == ("line 3", "timestamp")
    assert "1790000000000: milliseconds" in str(error)


def test_parquet_problems_are_named_by_row() -> None:
    def error_of_table(**columns: object) -> DatasetError:
        with tempfile.TemporaryDirectory() as folder:
            pq.write_table(pa.table(columns), Path(folder) / "interactions.parquet")
            with pytest.raises(DatasetError) as caught:
                load_dataset(Path(folder))
        return caught.value

    error = error_of_table(user_id=["u", None], item_id=["a", "b"])
    assert (error.place, error.column) == ("row 2", "user_id")
    error = error_of_table(user_id=["u", "v"], item_id=["a", "b"], rating=[1.0, float("nan")])
    assert (error.place, error.column) == ("row 2", "rating")
    error = error_of_table(user_id=["u"], item_id=["a"], rating=["good"])
    assert error.column == "rating"
    assert "expected numbers, found the type string" in str(error)
    assert error_of_table(user_id=[1.5], item_id=["a"]).column == "user_id"


def test_min_rating_drops_interactions_and_users_but_no_item() -> None:
    content = b"user_id,item_id,rating,timestamp\nu,a,2,1\nv,b,4,2\nu,b,1,3\nw,c,3.5,4\n"
    dataset = load_file("interactions.csv", content, min_rating=3.5)
    assert dataset.user_ids == ["v", "w"]
    assert dataset.items.item_ids == ["a", "b", "c"]
    assert dataset.interactions.user_row.tolist() == [0, 1]
    assert dataset.interactions.item_row.tolist() == [1, 2]
    assert dataset.interactions.timestamp is not None
    assert dataset.interactions.timestamp.tolist() == [2, 4]


def test_min_rating_needs_ratings_and_some_that_high() -> None:
    assert "'rating'" in str(error_of("interactions.csv", b"user_id,item_id\nu,a\n", min_rating=1))
    assert "highest is 4" in str(error_of("interactions.csv", b"user_id,item_id,rating\nu,a,4\n", min_rating=5))


def test_there_must_be_exactly_one_file_of_interactions(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="found none"):
        load_dataset(tmp_path / "absent")
    with pytest.raises(DatasetError, match="found none"):
        load_dataset(tmp_path)
    (tmp_path / "a.inter").write_text("user_id\titem_id\n")
    (tmp_path / "interactions.csv").write_text("user_id,item_id\n")
    with pytest.raises(DatasetError, match=r"found a\.inter, interactions\.csv"):
        load_dataset(tmp_path)


@settings(max_examples=150)
@given(
    st.sampled_from(["interactions.csv", "a.inter", "interactions.parquet"]),
    st.sampled_from([b"", b"user_id,item_id,rating\n", b"user_id\titem_id\ttimestamp\n", b"PAR1"]),
    st.one_of(st.binary(max_size=60), st.text('ui01,\t\n\r"; .', max_size=60).map(str.encode)),
)
@example("interactions.csv", b"user_id,item_id\n", b'"u,1\nu,2\n')
@example("interactions.csv", b"user_id,item_id\n", b"u,1\r\x00")
def test_arbitrary_bytes_never_get_past_the_readers_own_error(name: str, header: bytes, body: bytes) -> None:
    refusal = None
    try:
        load_file(name, header + body)
    except DatasetError as error:
        refusal = str(error)
    assert refusal is None or name in refusal
