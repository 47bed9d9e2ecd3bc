"""Feature arrays, and which item stands in which row."""

import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from training.data.dataset import Dataset, load_dataset
from training.data.features import find_features, read_features
from training.errors import DatasetError

INTERACTIONS = b"userID\titemID\n0\t2\n0\t0\n1\t2\n"


def directory_with(
    path: Path, arrays: dict[str, NDArray[np.generic]], interactions: bytes = INTERACTIONS, items: str | None = None
) -> Path:
    path.mkdir(exist_ok=True)
    (path / "some.inter").write_bytes(interactions)
    if items is not None:
        (path / "items.csv").write_text(items)
    for stem, array in arrays.items():
        np.save(path / f"{stem}_feat.npy", array)
    return path


def load_with(path: Path, array: NDArray[np.generic], **kwargs: str | bytes) -> Dataset:
    return load_dataset(directory_with(path, {"image": array}, **kwargs))  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_any_float_comes_back_as_single_precision(tmp_path: Path, dtype: str, order: str) -> None:
    values = np.array([[1, 2], [0, 0], [-0.5, 4]])
    np.save(tmp_path / "image_feat.npy", np.array(values, dtype=dtype, order=order))  # type: ignore[call-overload]
    matrix = read_features("visual", tmp_path / "image_feat.npy", 4)
    assert matrix.values.dtype == np.float32
    assert matrix.values.tolist() == [[1, 2], [0, 0], [-0.5, 4], [0, 0]]
    assert matrix.present.tolist() == [True, False, True, False]
    assert matrix.encoder is None


def test_rows_with_nan_are_missing_and_zeroed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    array = np.array([[1.0, 2], [np.nan, np.nan], [3, np.nan]])
    with caplog.at_level(logging.WARNING):
        matrix = load_with(tmp_path, array).features["visual"]
    assert matrix.present.tolist() == [True, False, False]
    assert matrix.values.tolist() == [[1, 2], [0, 0], [0, 0]]
    assert "1 rows are NaN in part and count as missing, the first is row 2" in caplog.text


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e300])
def test_an_infinite_value_is_named_by_row_and_column(tmp_path: Path, value: float) -> None:
    array = np.ones((3, 4))
    array[2, 1] = value
    with pytest.raises(DatasetError, match=r"image_feat\.npy, row 2, column '1'"):
        load_with(tmp_path, array)


@pytest.mark.parametrize(
    "array",
    [np.ones(3), np.ones((3, 0)), np.ones((3, 2, 2)), np.ones((3, 2), dtype=int), np.ones((3, 2), dtype=complex)],
)
def test_what_is_no_matrix_of_floats_is_refused(tmp_path: Path, array: NDArray[np.generic]) -> None:
    with pytest.raises(DatasetError, match=r"image_feat\.npy: expected floats of shape"):
        load_with(tmp_path, array)


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"image_feat\.npy"):
        load_with(tmp_path, np.array([[{}]], dtype=object))


@settings(max_examples=100)
@given(st.integers(0, 127), st.binary(min_size=1, max_size=4), st.integers(0, 300))
def test_a_damaged_array_file_gives_the_readers_own_error(
    tmp_path_factory: pytest.TempPathFactory, at: int, bytes_there: bytes, cut: int
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "image_feat.npy"
    np.save(path, np.ones((6, 4), dtype=np.float32))
    content = bytearray(path.read_bytes())
    content[at : at + len(bytes_there)] = bytes_there
    path.write_bytes(bytes(content[: len(content) - cut]))
    refusal = None
    try:
        read_features("visual", path, 6)
    except DatasetError as error:
        refusal = str(error)
    assert refusal is None or "image_feat.npy" in refusal


def test_modalities_take_their_names_from_files_and_later_directories_win(tmp_path: Path) -> None:
    own = directory_with(tmp_path / "own", {"image": np.ones((3, 2)), "acoustic": np.ones((3, 1))})
    run = tmp_path / "run"
    run.mkdir()
    np.save(run / "image_feat.npy", np.full((3, 5), 2.0))
    np.save(run / "text_feat.npy", np.ones((3, 3)))
    (run / "text_feat.json").write_text('{"encoder": "abc"}')
    dataset = load_dataset(own, features_directory=run)
    assert {name: matrix.values.shape[1] for name, matrix in dataset.features.items()} == {
        "acoustic": 1,
        "textual": 3,
        "visual": 5,
    }
    assert dataset.features["textual"].encoder == "abc"
    np.save(run / "visual_feat.npy", np.ones((3, 2)))
    with pytest.raises(DatasetError, match="both the modality 'visual'"):
        find_features(run)


@pytest.mark.parametrize("stem", ["item price", "größe", "", "-x", "a" * 101])
def test_a_modalitys_name_that_no_snapshot_can_have_is_named(tmp_path: Path, stem: str) -> None:
    with pytest.raises(DatasetError, match=rf"{stem}_feat\.npy: expected .*letters.*found {stem!r}"):
        load_dataset(directory_with(tmp_path, {stem: np.ones((3, 2))}))


@pytest.mark.parametrize("stem", ["behaviour", "collaborative", "item-item"])
def test_a_modality_cannot_be_called_what_people_did(tmp_path: Path, stem: str) -> None:
    with pytest.raises(DatasetError, match=rf"{stem}_feat\.npy: expected another name"):
        load_dataset(directory_with(tmp_path, {stem: np.ones((3, 2))}))


def test_names_that_a_snapshot_can_have_are_kept(tmp_path: Path) -> None:
    names = ["0", "Price.2-log_x", "a" * 100]
    found = load_dataset(directory_with(tmp_path, {name: np.ones((3, 2)) for name in names}))
    assert set(found.features) == set(names)


@pytest.mark.parametrize("sidecar", ["{", "[]", '{"encoder": 3}', "{}"])
def test_a_damaged_sidecar_is_named(tmp_path: Path, sidecar: str) -> None:
    directory = directory_with(tmp_path, {"text": np.ones((2, 2))})
    (directory / "text_feat.json").write_text(sidecar)
    with pytest.raises(DatasetError, match=r"text_feat\.json"):
        load_dataset(directory)


def test_without_a_table_the_row_is_the_number_and_feature_only_items_exist(tmp_path: Path) -> None:
    dataset = load_with(tmp_path, np.arange(1, 6, dtype=float)[:, None])
    assert dataset.items.item_ids == ["0", "1", "2", "3", "4"]
    assert dataset.interactions.item_row.tolist() == [2, 0, 2]
    assert dataset.features["visual"].values[:, 0].tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("item_id", ["3", "x", "-1", "00", "1.0"])
def test_without_a_table_an_id_beyond_the_rows_is_named(tmp_path: Path, item_id: str) -> None:
    content = f"userID\titemID\n0\t1\n1\t{item_id}\n".encode()
    with pytest.raises(DatasetError, match=r"some\.inter, line 3, column 'itemID': expected an id from 0 to 2"):
        load_with(tmp_path, np.ones((3, 2)), interactions=content)


def test_arrays_of_different_lengths_are_refused(tmp_path: Path) -> None:
    directory = directory_with(tmp_path, {"image": np.ones((3, 2)), "text": np.ones((4, 2))})
    with pytest.raises(DatasetError, match=r"image_feat\.npy: expected 4 rows like text_feat\.npy, found 3"):
        load_dataset(directory)


def test_with_a_table_rows_follow_its_order(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        dataset = load_with(tmp_path, np.array([[1.0], [2], [3]]), items="itemID\n2\n0\n1\n")
    assert dataset.items.item_ids == ["2", "0", "1"]
    assert dataset.interactions.item_row.tolist() == [0, 1, 0]
    assert "feature rows follow its lines, not its numbers" in caplog.text


def test_items_the_table_lacks_come_after_it_without_features(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        dataset = load_with(tmp_path, np.ones((2, 2)), items="item_id,title\nx,X\n0,Zero\n")
    assert dataset.items.item_ids == ["x", "0", "2"]
    assert dataset.items.titles == ["X", "Zero", None]
    assert dataset.features["visual"].present.tolist() == [True, True, False]
    assert "1 items are not in items.csv" in caplog.text


@pytest.mark.parametrize("length", [1, 4])
def test_with_a_table_an_array_of_another_length_is_refused(tmp_path: Path, length: int) -> None:
    message = rf"image_feat\.npy: expected a row for each of the 2 items of items\.csv, found {length} rows"
    with pytest.raises(DatasetError, match=message):
        load_with(tmp_path, np.ones((length, 2)), items="item_id\n2\n0\n")


@pytest.mark.parametrize("elsewhere", [False, True])
def test_arrays_made_here_of_fewer_items_say_how_to_make_them_again(tmp_path: Path, elsewhere: bool) -> None:
    data = directory_with(tmp_path / "data", {}, items="item_id\n2\n0\n1\n")
    made = directory_with(tmp_path / "made" if elsewhere else data, {"text": np.ones((2, 2))})
    given = made if elsewhere else None
    with pytest.raises(DatasetError, match=r"3 items of items\.csv, found 2 rows$"):
        load_dataset(data, features_directory=given)
    (made / "text_feat.json").write_text('{"encoder": "abc"}')
    again = f"--data {data} --out {made}" if elsewhere else f"--data {data}"
    with pytest.raises(DatasetError, match=rf"found 2 rows; run `magnet-train features {again}` again$"):
        load_dataset(data, features_directory=given)


def test_arrays_made_here_follow_the_order_of_appearance(tmp_path: Path) -> None:
    content = b"userID\titemID\nu\tb\nu\ta\n"
    directory = directory_with(tmp_path, {"image": np.array([[1.0], [2]])}, interactions=content)
    (directory / "image_feat.json").write_text('{"encoder": "abc"}')
    dataset = load_dataset(directory)
    assert dataset.items.item_ids == ["b", "a"]
    np.save(directory / "image_feat.npy", np.ones((3, 1)))
    with pytest.raises(DatasetError, match=rf"each of the 2 items, found 3 rows; run .*--data {directory}` again"):
        load_dataset(directory)
