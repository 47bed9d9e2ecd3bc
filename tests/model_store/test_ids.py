"""Ids: what is one, and look-ups against a dictionary."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_store.errors import InvalidContent, SnapshotCorrupt
from model_store.ids import MAX_ID_BYTES, IdTable, encode_id, id_arrays

ids = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
many = st.lists(ids, unique=True, max_size=40)


def table(known: list[str]) -> IdTable:
    arrays = id_arrays(known, "x")
    return IdTable(arrays["x_bytes"], arrays["x_offsets"], arrays["x_order"])


@given(many, st.lists(ids, max_size=10))
def test_look_ups_agree_with_a_dictionary(known: list[str], others: list[str]) -> None:
    expected = {text: row for row, text in enumerate(known)}
    built = table(known)
    built.check("x")
    assert list(built) == known
    for text in known + others:
        assert built.row_of(text) == expected.get(text)


@settings(deadline=None)
@given(many, st.lists(ids, max_size=10))
def test_many_at_once_agree_with_one_by_one(known: list[str], others: list[str]) -> None:
    built = table(known)
    asked = (known + others + ["", "\ud800", "x" * (MAX_ID_BYTES + 1)]) * 600  # enough to be worth vectorising
    asked = asked[: 600 + len(known)]
    expected = [-1 if (row := built.row_of(text)) is None else row for text in asked]
    assert built.rows_of(asked).tolist() == expected
    assert built.rows_of(asked[:3]).tolist() == expected[:3]


@given(many, st.text(max_size=3), st.integers(0, 50))
def test_prefixes_agree_with_startswith(known: list[str], prefix: str, limit: int) -> None:
    matching = sorted((text for text in known if text.startswith(prefix)), key=lambda text: text.encode())
    built = table(known)
    assert [built.id_of(row) for row in built.rows_with_prefix(prefix, limit)] == matching[:limit]


def test_slashes_nul_and_emptiness() -> None:
    strange = ["a/b", "a/b/", "../../etc/passwd", "a\0", "a", "ü", "\U0001f600", "x" * MAX_ID_BYTES]
    built = table(strange)
    built.check("x")
    assert [built.row_of(text) for text in strange] == list(range(len(strange)))
    assert built.row_of("") is None
    assert built.row_of("\ud800") is None
    assert built.row_of("x" * (MAX_ID_BYTES + 1)) is None


def test_nobody_is_in_an_empty_table() -> None:
    nobody = table([])
    nobody.check("x")
    assert nobody.row_of("a") is None
    assert nobody.rows_of(["a", "b"]).tolist() == [-1, -1]
    assert nobody.rows_with_prefix("", 5).tolist() == []


@pytest.mark.parametrize("text", ["", "\ud800", "é" * 257])
def test_what_is_no_id(text: str) -> None:
    with pytest.raises(ValueError, match="expected an id"):
        encode_id(text)


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (["a", "b", "a"], "x: expected distinct ids, found 'a' in rows 0 and 2"),
        (["a", ""], "x, row 1: expected an id of 1 to 512 bytes, found 0"),
        (["a\ud800"], "x, row 0: expected an id in valid Unicode"),
    ],
)
def test_bad_ids_are_refused_with_their_row(known: list[str], said: str) -> None:
    with pytest.raises(InvalidContent, match=said):
        id_arrays(known, "x")


def test_rows_outside_the_table_are_errors() -> None:
    built = table(["a"])
    for row in (-1, 1):
        with pytest.raises(IndexError):
            built.id_of(row)


@pytest.mark.parametrize("name", ["x_bytes", "x_offsets", "x_order"])
@pytest.mark.parametrize("place", [0, 1, 2, -1])
def test_check_finds_any_change(name: str, place: int) -> None:
    arrays = id_arrays(["beta", "älpha", "gamma"], "x")
    changed = arrays[name].copy()
    changed[place] += 101
    arrays[name] = changed
    with pytest.raises(SnapshotCorrupt, match="x"):
        IdTable(arrays["x_bytes"], arrays["x_offsets"], arrays["x_order"]).check("x")


def test_check_finds_an_id_that_is_there_twice() -> None:
    twice = IdTable(np.frombuffer(b"abab", np.uint8), np.array([0, 2, 4], np.int64), np.array([0, 1], np.int32))
    with pytest.raises(SnapshotCorrupt, match="an id twice"):
        twice.check("x")
