"""Reading: what a good snapshot gives, and that nothing else is read."""

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from model_store import Snapshot, SnapshotCorrupt, SnapshotNotFound, StoreError
from model_store.npy import open_mapped
from model_store.scoring import scorer_for
from model_store.snapshot import read_manifest
from tests.support.forged import forge, writable_copy
from tests.support.tiny_snapshot import tiny_catalogue


@pytest.fixture(scope="module")
def opened(pair_snapshot: Path) -> Snapshot:
    return Snapshot.open(pair_snapshot)


@pytest.fixture
def copied(pair_snapshot: Path, tmp_path: Path) -> Path:
    return writable_copy(pair_snapshot, tmp_path)


def test_everything_that_was_written_is_read(opened: Snapshot) -> None:
    written = tiny_catalogue(np.random.default_rng(0), 20, 50)
    items = written.items
    assert (opened.n_users, opened.n_items) == (20, 50)
    assert list(opened.user_ids) == written.user_ids
    assert list(opened.item_ids) == items.item_ids
    assert items.titles is not None
    assert items.categories is not None
    assert items.descriptions is not None
    for row in range(50):
        known = opened.item(row)
        assert (known.item_id, known.title) == (items.item_ids[row], items.titles[row])
        assert (known.categories, known.description) == (tuple(items.categories[row]), items.descriptions[row])
        assert opened.item_row(known.item_id) == row
    for row, history in enumerate(written.histories):
        assert opened.history(row).tolist() == history.tolist()
        assert opened.user_row(opened.user_id(row)) == row
    assert opened.user_row("nobody") is None
    assert opened.rows_in_category("green").tolist() == list(range(1, 50, 3))
    assert opened.rows_in_category("no such category").tolist() == []
    assert opened.file("report.html") == opened.path / "report.html"
    assert opened.file("user_encoder.onnx") is None
    assert opened.has("item_parts")
    assert not opened.has("nothing")


def test_parquet_says_the_same(opened: Snapshot) -> None:
    assert pq.read_table(opened.path / "users.parquet")["user_id"].to_pylist() == list(opened.user_ids)
    for row, record in enumerate(pq.read_table(opened.path / "items.parquet").to_pylist()):
        known = opened.item(row)
        assert record == {**vars(known), "categories": list(known.categories)}


def test_known_users_are_what_the_encoder_makes_of_their_history(opened: Snapshot) -> None:
    scorer = scorer_for(opened)
    for row in range(opened.n_users):
        known, encoded = scorer.known_user(row), scorer.encode_user(opened.history(row))
        np.testing.assert_allclose(known.vector, encoded.vector, atol=1e-3)
        np.testing.assert_allclose(known.logits, encoded.logits, atol=1e-3)
        assert np.isfinite(scorer.score_all(known)).all()


def test_arrays_and_parameters_cannot_be_written(opened: Snapshot) -> None:
    for array in (*opened.arrays.values(), *opened.parameters.values()):
        assert not array.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        opened.array("popularity")[0] = 1


def test_rows_outside_are_errors(opened: Snapshot) -> None:
    for ask in (opened.history, opened.user_id, opened.item_id, opened.item):
        for row in (-1, 50):
            with pytest.raises(IndexError):
                ask(row)


def test_it_stays_readable_when_its_folder_is_removed(copied: Path) -> None:
    snapshot = Snapshot.open(copied)
    expected = snapshot.item(3), snapshot.history(2).tolist(), snapshot.parameter("expert_mix").sum()
    shutil.rmtree(copied)
    assert (snapshot.item(3), snapshot.history(2).tolist(), snapshot.parameter("expert_mix").sum()) == expected


def files_of(snapshot: Path) -> list[Path]:
    return [path for path in sorted(snapshot.rglob("*")) if path.is_file()]


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def lengthen(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\0")


def link(file: Path) -> None:
    elsewhere = file.parents[len(file.relative_to(file.parents[2]).parts)] / "elsewhere"
    file.rename(elsewhere)
    file.symlink_to(elsewhere)


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize("tamper", [flip, truncate, lengthen, Path.unlink, link, pipe])
def test_a_tampered_file_is_refused_and_named(copied: Path, tamper: Callable[[Path], None]) -> None:
    for file in files_of(copied):
        original = file.read_bytes()
        tamper(file)
        with pytest.raises(SnapshotCorrupt) as caught:
            Snapshot.open(copied)
        assert caught.value.file == str(file.relative_to(copied))
        if tamper is not flip:
            with pytest.raises(SnapshotCorrupt):
                Snapshot.open(copied, "size")
        file.unlink(missing_ok=True)
        file.write_bytes(original)
    Snapshot.open(copied)


def test_no_bit_of_an_array_header_can_change(copied: Path) -> None:
    """Not even where no hash is checked."""
    manifest = read_manifest(copied)
    for info in manifest.arrays.values():
        with (copied / info.file).open("r+b", buffering=0) as file:
            header = file.read(10)
            header += file.read(int.from_bytes(header[-2:], "little"))
            for place, bit in itertools.product(range(len(header)), range(8)):
                file.seek(place)
                file.write(bytes([header[place] ^ 1 << bit]))
                with pytest.raises(SnapshotCorrupt):
                    open_mapped(copied / info.file, info)
                file.seek(place)
                file.write(header[place : place + 1])
    assert Snapshot.open(copied).id == copied.name


def test_parameters_are_checked_without_hashes_too(copied: Path) -> None:
    """Their header names them, and a name that nobody knows would be no error before somebody asks for it."""
    file = copied / "parameters.safetensors"
    content = file.read_bytes()
    file.write_bytes(content.replace(b'"feature_mean_', b'"feature_bean_'))
    assert file.read_bytes() != content
    with pytest.raises(SnapshotCorrupt, match=r"parameters\.safetensors"):
        Snapshot.open(copied, "size")


def test_a_file_too_many_is_refused(copied: Path) -> None:
    (copied / "arrays" / "more.npy").write_bytes(b"")
    with pytest.raises(SnapshotCorrupt, match=r"arrays/more\.npy"):
        Snapshot.open(copied)


def test_a_linked_folder_is_refused(copied: Path) -> None:
    (copied / "arrays").rename(copied.parent / "elsewhere")
    (copied / "arrays").symlink_to(copied.parent / "elsewhere")
    with pytest.raises(SnapshotCorrupt, match="arrays: expected a folder, found a link"):
        Snapshot.open(copied)


def test_a_linked_snapshot_is_refused(pair_snapshot: Path, tmp_path: Path) -> None:
    (tmp_path / pair_snapshot.name).symlink_to(pair_snapshot)
    with pytest.raises(SnapshotCorrupt, match="link"):
        Snapshot.open(tmp_path / pair_snapshot.name)


def test_a_snapshot_under_another_name_is_refused(copied: Path) -> None:
    with pytest.raises(SnapshotCorrupt, match="expected the content of"):
        Snapshot.open(copied.rename(copied.with_name("0" * 32)))


def test_a_missing_snapshot_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(SnapshotNotFound):
        Snapshot.open(tmp_path / ("0" * 32))


def without(*path: str) -> Callable[[Any], None]:
    def change(fields: Any) -> None:
        for key in path[:-1]:
            fields = fields[key]
        del fields[path[-1]]

    return change


def rewritten(name: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    """A function that replaces an array by `change` of it and declares the new dtype and shape."""

    def rewrite(copied: Path) -> None:
        file = copied / "arrays" / f"{name}.npy"
        array = np.load(file)
        array = change(array) if (result := change(array)) is None else result
        np.save(file, array)

    return rewrite


def put(place: Any, value: Any) -> Callable[[Any], Any]:
    def change(array: Any) -> Any:
        array = array.copy()
        array[place] = value
        return array

    return change


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("history_indptr", put(3, 10**9), "offsets that rise"),
        ("history_indptr", put(0, -1), "offsets that rise"),
        ("history_indptr", put(-1, 3), "offsets that rise"),
        ("history_items", put(0, 50), "numbers in 0..49"),
        ("history_items", put(0, -1), "numbers in 0..49"),
        ("item_item_items", put(0, 50), "numbers in 0..49"),
        ("neighbours_visual_items", put((0, 0), -2), "numbers in -1..49"),
        ("category_items", put(0, 99), "numbers in 0..49"),
        ("item_parts", put((0, 0, 0), np.inf), "finite"),
        ("item_logits", put((0, 0), np.nan), "finite"),
        ("item_degree", put(0, -1), "numbers in 0"),
        ("popularity", put(0, -1), "numbers in 0"),
        ("user_ids_order", put(0, 19), "every row once"),
        ("item_ids_offsets", put(1, 0), "ids of 1 to"),
        ("item_ids_bytes", put(0, 255), "UTF-8"),
        ("item_parts", lambda a: a[:-1], "shape"),
        ("item_parts", lambda a: a[:, :2], "shape"),
        ("item_parts", lambda a: a.astype(np.float64), "dtype"),
        ("item_parts", lambda a: a.reshape(-1), "shape"),
        ("history_items", lambda a: a.astype(np.int64), "dtype"),
        ("user_logits", lambda a: a[:, :-1], "shape"),
        ("categories_order", lambda a: a[:-1], "shape"),
        ("item_parts", np.asfortranarray, "in C order, found .*True"),
        ("item_parts", lambda a: a.astype(">f2"), "expected <f2"),
    ],
)
def test_arrays_that_would_mislead_are_refused(
    copied: Path, name: str, change: Callable[[Any], Any], said: str
) -> None:
    rewritten(name, change)(copied)

    def declare(fields: Any) -> None:
        array = np.load(copied / "arrays" / f"{name}.npy")
        fields["arrays"][name].update(dtype=array.dtype.newbyteorder("<").str, shape=list(array.shape))

    identity = forge(copied, declare)
    with pytest.raises(SnapshotCorrupt, match=said) as caught:
        Snapshot.open(copied, expected_id=identity)
    assert name.rpartition("_")[0] in caught.value.file or name in caught.value.file


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("arrays", "item_parts"), r"item_parts\.npy: expected an array that 'pair' snapshots have"),
        (without("files", "arrays/item_parts.npy"), "listed file"),
        (without("terms"), "terms"),
        (lambda fields: fields["arrays"]["popularity"].update(file="arrays/../popularity.npy"), "relative file name"),
        (lambda fields: fields["arrays"]["popularity"].update(file="/etc/passwd"), "relative file name"),
        (lambda fields: fields["files"].update({"../x": fields["files"].pop("report.html")}), "relative file name"),
        (lambda fields: fields["arrays"]["popularity"].update(dtype="|O8"), "dtype"),
        (lambda fields: fields["arrays"]["popularity"].update(shape=[-1]), "shape"),
        (lambda fields: fields["arrays"]["popularity"].update(shape=[0, 2**70]), "popularity"),
        (lambda fields: fields.update(n_items=51), "shape"),
        (lambda fields: fields.update(top_k_experts=0), "top_k_experts in 1..9"),
        (lambda fields: fields.update(top_k_experts=10), "top_k_experts in 1..9"),
        (lambda fields: fields.update(embedding_size=9), "shape"),
        (lambda fields: fields.update(n_users=2**80), "shape"),
    ],
)
def test_manifests_that_do_not_fit_are_refused(copied: Path, change: Callable[[Any], Any], said: str) -> None:
    identity = forge(copied, lambda fields: change(fields) and None)
    with pytest.raises(SnapshotCorrupt, match=said):
        Snapshot.open(copied, expected_id=identity)


def test_parameters_have_to_be_there_and_fit(copied: Path) -> None:
    file = copied / "parameters.safetensors"
    good = load_file(file)
    for bad, said in (
        ({name: value for name, value in good.items() if name != "expert_gain"}, "a parameter 'expert_gain'"),
        (good | {"expert_gain": np.ones(4, np.float32)}, "expert_gain: expected shape"),
        (good | {"expert_gain": good["expert_gain"] * np.float32(np.nan)}, "expert_gain: expected finite"),
        (good | {"members": np.array([3], np.int32)}, "members: expected a divisor of 8, found 3"),
        (good | {"members": np.array([0], np.int32)}, "members: expected a divisor of 8, found 0"),
        (good | {"expert_removes": np.full(9, 3, np.int32)}, "expert_removes: expected numbers in -1..2"),
        (good | {"user_router_scale": np.zeros(7, np.float32)}, "user_router_scale: expected positive"),
    ):
        save_file(bad, file)
        identity = forge(copied)
        with pytest.raises(SnapshotCorrupt, match=said):
            Snapshot.open(copied, expected_id=identity)


@pytest.mark.parametrize("file", ["arrays/item_parts.npy", "arrays/item_ids_order.npy", "parameters.safetensors"])
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_forged_header_is_read_or_refused_never_a_traceback(copied: Path, file: str, data: st.DataObject) -> None:
    path = copied / file
    original = path.read_bytes()
    mangled = bytearray(original)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, 200))
        mangled[place : place + data.draw(st.integers(0, 2))] = data.draw(
            st.binary(max_size=2) | st.sampled_from([b"0", b"9" * 30, b"(", b"O", b"None", b"-1,"])
        )
    path.write_bytes(mangled)
    try:
        Snapshot.open(copied, expected_id=forge(copied))
    except StoreError:
        pass
    finally:
        path.write_bytes(original)


def test_pickled_arrays_are_refused(copied: Path) -> None:
    file = copied / "arrays" / "popularity.npy"
    np.save(file, np.array([{"a": 1}] * 50, dtype=object), allow_pickle=True)
    with pytest.raises(SnapshotCorrupt, match=r"popularity\.npy"):
        Snapshot.open(copied, expected_id=forge(copied))


def test_a_record_that_is_none_is_an_error_of_this_package(copied: Path) -> None:
    rewritten("item_records_bytes", put(0, ord("x")))(copied)
    snapshot = Snapshot.open(copied, expected_id=forge(copied))
    with pytest.raises(SnapshotCorrupt, match="item_records"):
        snapshot.item(0)
    assert snapshot.item(1).item_id == snapshot.item_id(1)


def test_reading_needs_neither_torch_nor_parquet(pair_snapshot: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from model_store import Snapshot\n"
        "Snapshot.open(Path(sys.argv[1])).item(0)\n"
        "sys.exit(bool({'torch', 'pyarrow', 'onnxruntime'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code, str(pair_snapshot)]).returncode == 0


def test_the_published_manifest_is_json(pair_snapshot: Path) -> None:
    fields = json.loads((pair_snapshot / "manifest.json").read_bytes())
    assert list(fields["terms"][0]["modalities"]) == ["behaviour", "visual", "textual"]
