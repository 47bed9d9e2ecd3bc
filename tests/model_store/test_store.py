"""The store: one pointer, its history, and what is kept."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from model_store import (
    Snapshot,
    SnapshotCorrupt,
    SnapshotNotFound,
    SnapshotWriter,
    Store,
    StoreBusy,
    StoreError,
    StoreUnusable,
)
from model_store.lock import locked
from model_store.pointer import read_moves
from tests.support.tiny_snapshot import (
    fill_popularity,
    popularity_draft,
    tiny_catalogue,
    write_tiny_popularity_snapshot,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def four(store: Store) -> list[str]:
    """Ids of four published snapshots, none promoted."""
    return [write_tiny_popularity_snapshot(store.root, seed=seed) for seed in range(4)]


def damage(store: Store, snapshot: str) -> None:
    file = store.root / "snapshots" / snapshot / "items.parquet"
    file.chmod(0o644)
    content = bytearray(file.read_bytes())
    content[40] ^= 1
    file.write_bytes(content)


def test_an_empty_store(store: Store) -> None:
    missing = Store(store.root / "missing")
    assert (missing.current(), missing.snapshots()) == (None, [])
    for ask in (missing.open, missing.rollback, lambda: missing.promote("0" * 32), lambda: missing.prune(keep=1)):
        with pytest.raises(SnapshotNotFound):
            ask()
    assert not missing.root.exists()


def test_promoting_moves_the_pointer(store: Store, four: list[str]) -> None:
    assert store.current() is None
    for snapshot in four:
        store.promote(snapshot)
        assert store.current() == store.open().id == snapshot
    listed = {entry.snapshot: entry.is_current for entry in store.snapshots()}
    assert listed == {snapshot: snapshot == four[3] for snapshot in four}


def test_promoting_the_current_one_changes_nothing(store: Store, four: list[str]) -> None:
    store.promote(four[0])
    store.promote(four[1])
    before = (store.root / "HISTORY").read_bytes()
    store.promote(four[1])
    assert (store.root / "HISTORY").read_bytes() == before
    assert store.rollback() == four[0]


def test_rolling_back_goes_further_each_time(store: Store, four: list[str]) -> None:
    for snapshot in four:
        store.promote(snapshot)
    assert [store.rollback() for _ in range(3)] == [four[2], four[1], four[0]]
    with pytest.raises(SnapshotNotFound, match="no earlier"):
        store.rollback()
    assert store.current() == four[0]


def test_rolling_back_after_rolling_back_and_promoting(store: Store, four: list[str]) -> None:
    a, b, c, d = four
    for snapshot in (a, b, c):
        store.promote(snapshot)
    assert store.rollback() == b
    store.promote(d)  # a, b, d: c was taken back and is no place to return to
    assert [store.rollback() for _ in range(2)] == [b, a]


def test_returning_to_an_old_snapshot_by_promotion(store: Store, four: list[str]) -> None:
    a, b, *_ = four
    for snapshot in (a, b, a):
        store.promote(snapshot)
    assert store.rollback() == b
    assert store.rollback() == a


def test_rolling_back_passes_over_what_is_missing_or_damaged(store: Store, four: list[str]) -> None:
    for snapshot in four:
        store.promote(snapshot)
    damage(store, four[2])
    store.root.joinpath("snapshots", four[1]).rename(store.root / "taken away")
    assert store.rollback() == four[0]


@pytest.mark.parametrize(
    "snapshot", ["", "..", "../" + "0" * 32, "0" * 31, "0" * 33, "G" * 32, "0" * 32, "0" * 32 + "\n"]
)
def test_what_is_no_snapshot_is_not_found(store: Store, four: list[str], snapshot: str) -> None:
    store.promote(four[0])
    for ask in (store.promote, store.open, store.verify):
        with pytest.raises(SnapshotNotFound):
            ask(snapshot)
    assert store.current() == four[0]


def test_a_damaged_snapshot_is_refused_and_the_old_one_stays(store: Store, four: list[str]) -> None:
    store.promote(four[0])
    damage(store, four[1])
    for ask in (store.promote, store.open, store.verify):
        with pytest.raises(SnapshotCorrupt, match=r"items\.parquet: expected SHA-256"):
            ask(four[1])
    assert store.open().id == four[0]
    assert Snapshot.open(store.root / "snapshots" / four[1], "size").id == four[1]  # sizes alone do not show it


def test_an_unreadable_snapshot_is_listed_with_its_problem(store: Store, four: list[str]) -> None:
    file = store.root / "snapshots" / four[2] / "manifest.json"
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-5])
    problems = {entry.snapshot: entry.problem for entry in store.snapshots()}
    assert [problems[snapshot] is None for snapshot in four] == [True, True, False, True]
    assert "manifest.json" in (problems[four[2]] or "")


@pytest.mark.parametrize("content", [b"", b"x", b"../../etc\n", b"0" * 32, b"0" * 33, b"\xff" * 32 + b"\n"])
def test_a_mangled_pointer_is_an_error_until_the_next_promotion(store: Store, four: list[str], content: bytes) -> None:
    store.promote(four[0])
    (store.root / "CURRENT").write_bytes(content)
    for ask in (store.current, store.open, lambda: store.prune(keep=0)):
        with pytest.raises(SnapshotCorrupt, match="CURRENT"):
            ask()
    assert len(store.snapshots()) == 4
    store.promote(four[1])
    assert store.open().id == four[1]
    assert store.rollback() == four[0]


def test_a_pointer_to_nothing_is_not_found(store: Store, four: list[str]) -> None:
    store.promote(four[0])
    (store.root / "CURRENT").write_text("0" * 32 + "\n")
    with pytest.raises(SnapshotNotFound, match="no snapshot 0000"):
        store.open()
    assert store.rollback() == four[0]


def test_history_survives_torn_and_foreign_lines(store: Store, four: list[str]) -> None:
    store.promote(four[0])
    store.promote(four[1])
    history = store.root / "HISTORY"
    history.write_bytes(b'["not a move"]\n' + history.read_bytes() + b'{"action": "promote", "snaps')
    store.promote(four[2])
    assert b"snaps{" not in history.read_bytes()
    assert store.rollback() == four[1]
    assert store.rollback() == four[0]


def test_a_promotion_that_died_halfway_is_no_place_to_return_to(store: Store, four: list[str]) -> None:
    a, b, c, _ = four
    store.promote(a)
    with (store.root / "HISTORY").open("a") as file:  # written, but CURRENT was never replaced
        file.write(json.dumps({"action": "promote", "snapshot": b, "previous": a, "time": 0}) + "\n")
    assert [entry.snapshot for entry in read_moves(store.root, a)] == [a]
    store.promote(c)
    assert store.rollback() == a


def test_history_without_a_file(store: Store, four: list[str]) -> None:
    for snapshot in four[:2]:
        store.promote(snapshot)
    (store.root / "HISTORY").unlink()
    with pytest.raises(SnapshotNotFound, match="no earlier"):
        store.rollback()


def test_pruning_keeps_the_current_one_and_the_most_recently_used(store: Store, four: list[str]) -> None:
    for place, snapshot in enumerate(four):
        os.utime(store.root / "snapshots" / snapshot, (1000 + place, 1000 + place))
    store.promote(four[0])
    assert sorted(store.prune(keep=2)) == [four[1]]
    store.promote(four[3])  # four[0] was used a moment ago, four[2] is only old
    assert store.prune(keep=1) == [four[2]]
    assert store.prune(keep=0) == [four[0]]
    assert [entry.snapshot for entry in store.snapshots()] == [four[3]]
    assert list((store.root / "staging").iterdir()) == []
    with pytest.raises(StoreError, match="keep"):
        store.prune(keep=-1)


def test_pruning_keeps_what_a_rollback_would_go_back_to(store: Store, four: list[str]) -> None:
    """It was published first, but served until the pointer moved."""
    for place, snapshot in enumerate(four):
        os.utime(store.root / "snapshots" / snapshot, (1000 + place, 1000 + place))
    store.promote(four[0])
    for snapshot in four[1:]:
        os.utime(store.root / "snapshots" / snapshot, (time.time(), time.time()))
    store.promote(four[1])
    assert sorted(store.prune(keep=1)) == sorted(four[2:])
    assert store.rollback() == four[0]


def test_pruning_does_not_disturb_readers(store: Store, four: list[str]) -> None:
    store.promote(four[0])
    reading = store.open(four[1])
    expected = reading.item(0)
    store.prune(keep=0)
    assert reading.item(0) == expected
    with pytest.raises(SnapshotNotFound):
        store.open(four[1])


def test_pruning_spares_a_living_writer_and_clears_after_a_dead_one(store: Store, four: list[str]) -> None:
    code = (
        "import os, sys; from pathlib import Path; from model_store import SnapshotWriter\n"
        "from tests.support.tiny_snapshot import popularity_draft\n"
        "SnapshotWriter(Path(sys.argv[1]), popularity_draft()).__enter__().add_file('report.html', b'x'); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(store.root)], cwd=ROOT).returncode == 9
    dead = set((store.root / "staging").iterdir())
    assert len(dead) == 2
    catalogue = tiny_catalogue(np.random.default_rng(9), 4, 9)
    with SnapshotWriter(store.root, popularity_draft(seed=9)) as writer:
        fill_popularity(writer, catalogue)
        living = set((store.root / "staging").iterdir()) - dead
        store.prune(keep=9)
        assert set((store.root / "staging").iterdir()) == living
        identity = writer.publish()
    store.verify(identity)


def test_a_held_lock_is_reported_after_the_wait(store: Store, four: list[str]) -> None:
    impatient = Store(store.root, lock_timeout=0.05)
    with locked(store.root / "LOCK", 1):
        for ask in (lambda: impatient.promote(four[0]), impatient.rollback, lambda: impatient.prune(keep=1)):
            started = time.monotonic()
            with pytest.raises(StoreBusy, match="LOCK"):
                ask()
            assert time.monotonic() - started < 2
    impatient.promote(four[0])


def test_a_reader_that_meets_a_moving_pointer_follows_it(store: Store, four: list[str]) -> None:
    store.promote(four[0])
    stop = threading.Event()
    seen: set[str] = set()

    def read() -> None:
        while not stop.is_set():
            seen.add(store.open(verify="size").id)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for seed in range(10, 16):
            store.promote(write_tiny_popularity_snapshot(store.root, seed=seed))
            store.prune(keep=0)
    finally:
        stop.set()
        reader.join()
    assert len(store.snapshots()) == 1
    assert len(seen) > 1


def test_two_processes_promoting_at_once_lose_no_move(store: Store, four: list[str]) -> None:
    code = (
        "import sys; from pathlib import Path; from model_store import Store\n"
        "store = Store(Path(sys.argv[1]))\n"
        "for turn in range(15):\n"
        "    store.promote(sys.argv[2 + turn % 2])\n"
        "    store.rollback() if turn % 5 == 4 else store.open()\n"
    )
    store.promote(four[0])
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(store.root), *pair], cwd=ROOT)
        for pair in (four[:2], four[2:])
    ]
    assert [process.wait() for process in processes] == [0, 0]
    lines = [json.loads(line) for line in (store.root / "HISTORY").read_bytes().splitlines()]
    assert [line["previous"] for line in lines] == [None] + [line["snapshot"] for line in lines[:-1]]
    assert len(lines) > 20
    assert store.open().id == lines[-1]["snapshot"]


def test_a_store_that_cannot_be_read_is_an_error_of_this_package(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no store")
    for ask in (Store(tmp_path / "file").snapshots, Store(tmp_path / "file").current):
        with pytest.raises(StoreError):
            ask()
    with pytest.raises(StoreError), SnapshotWriter(tmp_path / "file", popularity_draft()):
        pass


def test_a_lock_that_cannot_be_taken_is_an_error_of_this_package(store: Store, four: list[str]) -> None:
    (store.root / "LOCK").unlink()
    (store.root / "LOCK").mkdir()
    for ask in (lambda: store.promote(four[0]), store.rollback, lambda: store.prune(keep=1)):
        with pytest.raises(StoreUnusable, match="locking"):
            ask()


def test_pruning_refuses_where_the_pointer_names_nothing_there_is(store: Store, four: list[str]) -> None:
    store.promote(four[0])
    (store.root / "CURRENT").write_text("0" * 32 + "\n")
    with pytest.raises(SnapshotCorrupt, match="CURRENT: expected the id of a snapshot in the store, found 0000"):
        store.prune(keep=0)
    assert {entry.snapshot for entry in store.snapshots()} == set(four)


def test_a_link_in_a_snapshot_is_a_further_file(store: Store, four: list[str], tmp_path: Path) -> None:
    folder = store.root / "snapshots" / four[0]
    folder.chmod(0o755)
    (folder / "extra").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(SnapshotCorrupt, match="extra: expected no such file"):
        store.open(four[0], verify="hash")


def test_pruning_beside_a_snapshot_with_damaged_ids_leaves_the_pictures(store: Store, four: list[str]) -> None:
    ids = store.root / "snapshots" / four[0] / "arrays" / "item_ids_bytes.npy"
    ids.chmod(0o644)
    ids.write_bytes(ids.read_bytes()[:-1] + b"\xff")  # no UTF-8 ends so
    (store.root / "media" / "ab").mkdir(parents=True)
    picture = store.root / "media" / "ab" / f"{'ab' * 32}.webp"
    picture.touch()
    os.utime(picture, (0, 0))
    assert store.prune(keep=4) == []
    assert picture.exists()
