"""Item tables and pictures."""

import logging
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies_data import any_ids, csv_bytes
from training.data.items import ItemTable, find_items, read_items
from training.errors import DatasetError

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def read_csv(directory: Path, content: bytes) -> ItemTable:
    path = directory / "items.csv"
    path.write_bytes(content)
    return read_items(path)


@given(
    st.lists(st.tuples(any_ids, texts, texts), min_size=1, max_size=10, unique_by=lambda row: row[0]),
    st.booleans(),
    st.sampled_from(["item_id", "itemID"]),
)
def test_csv_comes_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]], bom: bool, id_name: str
) -> None:
    content = csv_bytes((id_name, "title", "description"), [list(row) for row in rows], bom=bom, crlf=bom)
    items = read_csv(tmp_path_factory.mktemp("items"), content)
    assert items.item_ids == [row[0] for row in rows]
    assert items.titles == [row[1] if row[1].strip() else None for row in rows]
    assert items.descriptions == [row[2] if row[2].strip() else None for row in rows]
    assert items.categories == [()] * len(rows)
    assert items.images == [None] * len(rows)


def test_categories_are_cut_at_bars_and_kept_once(tmp_path: Path) -> None:
    items = read_csv(tmp_path, b"item_id,categories\na,Toys | Baby||Toys\nb,\n")
    assert items.categories == [("Toys", "Baby"), ()]


def test_parquet_takes_lists_of_categories_and_nulls(tmp_path: Path) -> None:
    columns = {"item_id": [1, 2], "title": [None, "B"], "categories": [["x", "y"], None], "description": [None, None]}
    pq.write_table(pa.table(columns), tmp_path / "items.parquet")
    items = read_items(tmp_path / "items.parquet")
    assert items.item_ids == ["1", "2"]
    assert items.titles == [None, "B"]
    assert items.categories == [("x", "y"), ()]
    assert items.descriptions == [None, None]


def test_what_parquet_cannot_be_cast_to_text_is_named(tmp_path: Path) -> None:
    nested = pa.array([[{"name": "x"}], None])
    pq.write_table(pa.table({"item_id": ["a", "b"], "categories": nested}), tmp_path / "items.parquet")
    with pytest.raises(DatasetError, match=r"items\.parquet, column 'categories': expected text"):
        read_items(tmp_path / "items.parquet")


def test_a_category_or_id_that_no_snapshot_can_have_is_named(tmp_path: Path) -> None:
    long = "x" * 513
    with pytest.raises(DatasetError, match=r"items\.csv, line 3, column 'categories': .*512 bytes, found 513"):
        read_csv(tmp_path, f"item_id,categories\na,Toys\nb,Toys|{long}\n".encode())
    with pytest.raises(DatasetError, match=r"items\.csv, line 3, column 'item_id': .*512 bytes, found 513"):
        read_csv(tmp_path, f"item_id,categories\na,Toys\n{long},Toys\n".encode())
    assert read_csv(tmp_path, f"item_id,categories\na,{long[1:]}\n".encode()).categories == [(long[1:],)]


def test_an_id_that_comes_twice_is_named_with_both_lines(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"items\.csv, line 4, column 'item_id'.*'a' already at line 2"):
        read_csv(tmp_path, b"item_id,title\na,A\nb,B\na,C\n")


def test_a_malformed_line_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"items\.csv, line 3: expected 2 cells, found 3"):
        read_csv(tmp_path, b"item_id,title\na,A\nb,B,C\n")


def test_a_table_without_ids_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="'item_id' or 'itemID'"):
        read_csv(tmp_path, b"asin,title\na,A\n")


@pytest.mark.parametrize("folder", ["images", "posters"])
def test_pictures_are_found_by_id(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    for name in ("a.jpg", "a.png", "b.WEBP", "c.txt", ".hidden.png"):
        (tmp_path / folder / name).touch()
    (tmp_path / "outside.png").touch()
    items = read_csv(tmp_path, b"item_id\na\nb\nc\n../outside\nx/y\n")
    assert items.images == [tmp_path / folder / "a.jpg", tmp_path / folder / "b.WEBP", None, None, None]


def test_pictures_are_found_by_the_image_column(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "b.png").touch()
    (tmp_path / "front.png").touch()
    with caplog.at_level(logging.WARNING):
        items = read_csv(tmp_path, b"item_id,image\na,front.png\nb,\nc,gone.png\n")
    assert items.images == [tmp_path / "front.png", None, None]
    assert "gone.png at line 4" in caplog.text


def test_recboles_item_file_says_titles_and_categories(tmp_path: Path) -> None:
    path = tmp_path / "ml.item"
    path.write_text(
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        '7\tA "quoted" one\t1995\tComedy Drama\n8\t\t1996\t\n',
        encoding="utf-8",
    )
    assert find_items(tmp_path) == path
    items = read_items(path)
    assert (items.item_ids, items.titles) == (["7", "8"], ['A "quoted" one', None])
    assert items.categories == [("Comedy", "Drama"), ()]
    (tmp_path / "items.csv").write_text("item_id\n7\n")
    with pytest.raises(DatasetError, match=r"items\.csv and ml\.item"):
        find_items(tmp_path)


@pytest.mark.parametrize("name", ["../outside.png", "/outside.png", "x" * 300 + ".png"])
def test_pictures_elsewhere_count_as_missing(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = tmp_path / "data"
    (data / "pictures").mkdir(parents=True)
    (data / "pictures" / "in.png").touch()
    (tmp_path / "outside.png").touch()
    name = str(tmp_path) + name if name.startswith("/") else name
    with caplog.at_level(logging.WARNING):
        items = read_csv(data, f"item_id,image\na,{name}\nb,pictures/../pictures/in.png\n".encode())
    assert [image is None for image in items.images] == [True, False]
    assert "1 pictures of the item table are not in the dataset" in caplog.text
