"""Writing: one id per content, refusals that say what is wrong, and disks that are full."""

import errno
import os
import resource
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from model_store import InvalidContent, ItemColumns, Snapshot, SnapshotWriter, Store, StoreError, StoreFull
from model_store.files import storage_errors
from tests.support.tiny_snapshot import (
    TinyCatalogue,
    fill_popularity,
    popularity_draft,
    tiny_catalogue,
    write_tiny_pair_snapshot,
    write_tiny_popularity_snapshot,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture
def catalogue() -> TinyCatalogue:
    return tiny_catalogue(np.random.default_rng(0), 4, 9)


def staged(root: Path) -> list[Path]:
    return list((root / "staging").iterdir())


def write(root: Path, catalogue: TinyCatalogue, and_then: Callable[[SnapshotWriter], object]) -> str:
    with SnapshotWriter(root, popularity_draft()) as writer:
        fill_popularity(writer, catalogue)
        and_then(writer)
        return writer.publish()


def test_the_same_content_has_the_same_id(tmp_path: Path) -> None:
    first = write_tiny_pair_snapshot(tmp_path / "a")
    assert write_tiny_pair_snapshot(tmp_path / "a") == first
    assert write_tiny_pair_snapshot(tmp_path / "b") == first
    assert write_tiny_pair_snapshot(tmp_path / "b", seed=1) != first
    assert len(Store(tmp_path / "a").snapshots()) == 1
    assert staged(tmp_path / "a") == []


def test_published_files_are_read_only(tmp_path: Path) -> None:
    published = tmp_path / "snapshots" / write_tiny_pair_snapshot(tmp_path)
    modes = {path.is_dir(): path.stat().st_mode & 0o777 for path in (published, *published.rglob("*"))}
    assert modes == {True: 0o555, False: 0o444}


def test_publishing_again_mends_a_damaged_copy(tmp_path: Path) -> None:
    identity = write_tiny_popularity_snapshot(tmp_path)
    file = tmp_path / "snapshots" / identity / "arrays" / "popularity.npy"
    file.chmod(0o644)
    file.write_bytes(b"damaged")
    assert write_tiny_popularity_snapshot(tmp_path) == identity
    Store(tmp_path).verify(identity)
    assert staged(tmp_path) == []


def test_streamed_arrays_are_stored_as_filled(tmp_path: Path, catalogue: TinyCatalogue) -> None:
    with SnapshotWriter(tmp_path, popularity_draft()) as writer:
        fill_popularity(writer, catalogue)
        streamed = writer.stream_array("streamed", np.float32, (1000, 3))
        for start in range(0, 1000, 300):
            streamed[start : start + 300] = start
        writer.add_array("empty", np.zeros((0, 4), np.int32))
        writer.add_array("one_number", np.array(7, np.int64))
        writer.add_array("big_endian", np.arange(3, dtype=">i4"))
        writer.add_array("by_columns", np.asfortranarray(np.arange(6, dtype=np.int32).reshape(2, 3)))
        identity = writer.publish()
    snapshot = Store(tmp_path).open(identity)
    assert snapshot.array("streamed")[:, 1].tolist() == [300 * (row // 300) for row in range(1000)]
    assert snapshot.array("empty").shape == (0, 4)
    assert snapshot.array("one_number") == 7
    assert snapshot.array("big_endian").tolist() == [0, 1, 2]
    assert snapshot.array("by_columns").tolist() == [[0, 1, 2], [3, 4, 5]]


def test_attached_files_are_copied(tmp_path: Path, catalogue: TinyCatalogue) -> None:
    (tmp_path / "model.onnx").write_bytes(b"graph" * 1000)
    with SnapshotWriter(tmp_path / "store", popularity_draft()) as writer:
        fill_popularity(writer, catalogue)
        writer.add_file("user_encoder.onnx", tmp_path / "model.onnx")
        writer.add_file("report.html", b"<html>")
        snapshot = Store(tmp_path / "store").open(writer.publish())
    attached = snapshot.file("user_encoder.onnx")
    assert attached is not None
    assert attached.read_bytes() == b"graph" * 1000


def test_nothing_is_visible_before_publish_and_nothing_left_after_an_exception(
    tmp_path: Path, catalogue: TinyCatalogue
) -> None:
    def interrupt(writer: SnapshotWriter) -> None:
        assert Store(tmp_path).snapshots() == []
        assert len(staged(tmp_path)) == 2  # the folder and its lock
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, catalogue, interrupt)
    assert Store(tmp_path).snapshots() == []
    assert staged(tmp_path) == []


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda w: w.add_array("popularity", np.zeros(9, np.float32)), "popularity.npy: expected a new file"),
        (lambda w: w.add_array("../x", np.zeros(9, np.float32)), "relative file name"),
        (lambda w: w.add_array("text", np.array(["a"])), "array 'text': expected one of"),
        (lambda w: w.add_array("objects", np.array([{}])), "array 'objects': expected one of"),
        (lambda w: w.add_array("notanumber", np.array([np.nan])), "notanumber.npy: expected finite"),
        (lambda w: w.add_array("neighbours_behaviour_items", np.array([[9]], np.int32)), "shape"),
        (lambda w: w.add_parameters({"words": np.array(["a"])}), "parameters.safetensors: expected arrays of numbers"),
        (lambda w: w.add_file("manifest.json", b""), "manifest.json"),
        (lambda w: w.add_file("/etc/passwd", b""), "relative file name"),
        (lambda w: w.add_users(["a"]), "users.parquet: expected a new file"),
        (lambda w: w.add_file("arrays", b""), "arrays: expected a new file"),
    ],
)
def test_content_that_makes_no_snapshot_is_refused(
    tmp_path: Path, catalogue: TinyCatalogue, spoil: Callable[[SnapshotWriter], None], said: str
) -> None:
    with pytest.raises(InvalidContent) as caught:
        write(tmp_path, catalogue, spoil)
    assert said in str(caught.value)
    assert Store(tmp_path).snapshots() == []
    assert staged(tmp_path) == []


@pytest.mark.parametrize(
    ("items", "said"),
    [
        (ItemColumns(["a", "b"], titles=["x"]), "items: expected 2 titles, found 1"),
        (ItemColumns(["a"], categories=[["\ud800"]]), "Unicode"),
        (ItemColumns(["a"], categories=[[""]]), "categories, row 0: expected an id of 1 to 512 bytes"),
        (ItemColumns(["a"], descriptions=["\ud800"]), "Unicode"),
        (ItemColumns(["a", "a"]), "item_ids: expected distinct ids, found 'a' in rows 0 and 1"),
    ],
)
def test_items_that_make_no_table_are_refused(tmp_path: Path, items: ItemColumns, said: str) -> None:
    with SnapshotWriter(tmp_path, popularity_draft()) as writer, pytest.raises(InvalidContent, match=said):
        writer.add_items(items)


def test_neighbours_that_are_no_items_are_refused(tmp_path: Path, catalogue: TinyCatalogue) -> None:
    def spoil(writer: SnapshotWriter) -> None:
        writer.add_array("neighbours_behaviour_items", np.full((9, 1), 9, np.int32))

    with pytest.raises(
        InvalidContent, match=r"neighbours_behaviour_items\.npy: expected numbers in -1\.\.8, found 9\.\.9"
    ):
        write(tmp_path, catalogue, spoil)


def test_parts_that_are_missing_are_named(tmp_path: Path) -> None:
    with SnapshotWriter(tmp_path, popularity_draft()) as writer, pytest.raises(InvalidContent, match="add_users"):
        writer.publish()


def test_a_writer_that_was_not_entered_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="entered"):
        SnapshotWriter(tmp_path, popularity_draft()).add_file("report.html", b"")
    assert list(tmp_path.iterdir()) == []


def test_two_at_once_with_the_same_content(tmp_path: Path) -> None:
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(write_tiny_popularity_snapshot(tmp_path))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    Store(tmp_path).verify(found[0])
    assert staged(tmp_path) == []


# -- full disks ---------------------------------------------------------------------------------------------------


def test_a_full_disk_leaves_no_half_snapshot(small_disks: Callable[[int], Path]) -> None:
    # A tiny popularity snapshot takes 22 files of one or two 4 KiB pages, and folders take none.
    outcomes = []
    for kibibytes in range(4, 140, 8):
        root = small_disks(kibibytes) / "store"
        try:
            identity = write_tiny_popularity_snapshot(root)
        except StoreFull:
            assert Store(root).snapshots() == []
            assert not (root / "staging").exists() or staged(root) == []
            outcomes.append(False)
        else:
            Store(root).verify(identity)
            outcomes.append(True)
    assert outcomes == sorted(outcomes)
    assert outcomes[0] is False
    assert outcomes[-1] is True


def test_a_full_disk_during_promotion_moves_nothing(small_disks: Callable[[int], Path]) -> None:
    disk = small_disks(400)
    first, second = (write_tiny_popularity_snapshot(disk / "store", seed=seed) for seed in (1, 2))
    store = Store(disk / "store")
    store.promote(first)
    free = os.statvfs(disk)
    (disk / "ballast").write_bytes(bytes(free.f_bavail * free.f_bsize))
    # HISTORY still has room in its page; CURRENT's new file has not.
    with pytest.raises(StoreFull):
        store.promote(second)
    assert store.open().id == first
    (disk / "ballast").unlink()
    store.promote(second)
    assert store.rollback() == first


def test_a_limit_on_file_sizes_is_a_full_disk_too(tmp_path: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path; from model_store import StoreFull\n"
        "from tests.support.tiny_snapshot import write_tiny_popularity_snapshot as write\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))\n"
        "try: write(Path(sys.argv[1]))\n"
        "except StoreFull as error: print(error); sys.exit(3)"
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    for limit, expected in ((0, 3), (150, 3), (1500, 3), (2**20, 0)):
        command = [sys.executable, "-c", code, str(tmp_path / "store"), str(limit)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == expected, done.stderr
        assert staged(tmp_path / "store") == []
        assert len(Store(tmp_path / "store").snapshots()) == (expected == 0)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_what_counts_as_full(number: int) -> None:
    with pytest.raises(StoreFull, match="writing x: "), storage_errors("writing x"):
        raise OSError(number, os.strerror(number), "/x")


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
def test_without_roots_rights_everything_works_too(tmp_path: Path) -> None:
    """Root may write where modes forbid it: only another user shows that chmod and rename come in the right order."""
    code = (
        "from pathlib import Path; import os, sys; from model_store import Store\n"
        "from tests.support.tiny_snapshot import write_tiny_popularity_snapshot as write\n"
        "Store(Path(sys.argv[2])).promote(write(Path(sys.argv[2])))  # imports what only root may read here\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "root = Path(sys.argv[1]); store = Store(root)\n"
        "ids = [write(root, seed=seed) for seed in (1, 2, 2, 3)]\n"
        "for found in ids: store.promote(found)\n"
        "assert store.rollback() == ids[1]\n"
        "file = root / 'snapshots' / ids[0] / 'report.html'\n"
        "try: file.write_bytes(b'')\n"
        "except PermissionError: pass\n"
        "else: raise SystemExit('a published folder was written to')\n"
        "assert len(store.prune(keep=0)) == 2\n"
        "assert [entry.snapshot for entry in store.snapshots()] == [ids[1]]\n"
        "assert list((root / 'staging').iterdir()) == []\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, 65534, 65534)
        command = [sys.executable, "-c", code, folder, str(tmp_path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_snapshot_written_here_can_be_opened_by_path(tmp_path: Path) -> None:
    identity = write_tiny_popularity_snapshot(tmp_path)
    assert Snapshot.open(tmp_path / "snapshots" / identity).id == identity
