"""The embedded state holds the contract, and what is special about a file."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from service.errors import StateUnavailable
from service.state.answers import Answers, new_recommendation_id
from service.state.embedded import FILE, SHELF_FILE, EmbeddedState
from service.state.protocol import StateStore
from service.state.shelf_file import ShelfFile
from service.state.writer import Writer
from tests.contract.state_store import StateStoreContract
from tests.support.events import event

pytestmark = pytest.mark.anyio


class TestEmbedded(StateStoreContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "state"

    def open_store(self) -> StateStore:
        return EmbeddedState(self.folder, shared=False)


async def test_every_commit_is_flushed(tmp_path: Path) -> None:
    store = EmbeddedState(tmp_path, shared=False)
    await store.start()
    try:
        assert store._reader is not None
        assert store._reader.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert store._reader.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    finally:
        await store.stop()


async def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateUnavailable, match="expected a writable folder"):
        await EmbeddedState(tmp_path / "file" / "state", shared=False).start()


async def test_a_write_that_fails_is_not_acknowledged_and_the_next_one_works(tmp_path: Path) -> None:
    store = EmbeddedState(tmp_path, shared=False)
    await store.start()
    try:
        with sqlite3.connect(tmp_path / FILE) as other:
            other.execute("CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'disk full'); END")
        other.close()
        with pytest.raises(StateUnavailable, match="nothing was kept: disk full"):
            await store.append([event("u", "i")])
        with sqlite3.connect(tmp_path / FILE) as other:
            other.execute("DROP TRIGGER full")
        other.close()
        assert await store.append([event("u", "i")]) == 1
    finally:
        await store.stop()


ENDLESS_WRITER = """
import asyncio, sys
from pathlib import Path
from service.state.embedded import EmbeddedState
from tests.support.events import event
async def main():
    store = EmbeddedState(Path(sys.argv[1]), shared=False)
    await store.start()
    number = 0
    while True:
        await store.append([event("u", f"item-{number}")])
        print(number, flush=True)
        number += 1
asyncio.run(main())
"""


async def test_acknowledged_events_survive_a_killed_process(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ENDLESS_WRITER, str(tmp_path)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(Path.cwd())}
    )
    assert process.stdout is not None
    acknowledged = [int(process.stdout.readline()) for _ in range(20)][-1]
    process.send_signal(signal.SIGKILL)
    acknowledged = max([acknowledged, *map(int, process.stdout.read().split())])
    process.stdout.close()
    process.wait()
    store = EmbeddedState(tmp_path, shared=False)
    await store.start()
    try:
        items = [kept.event.item for kept in (await store.events_of("u")).events]
        assert items[: acknowledged + 1] == [f"item-{number}" for number in range(acknowledged + 1)]
    finally:
        await store.stop()


async def test_workers_find_each_others_answers(tmp_path: Path) -> None:
    stores = [EmbeddedState(tmp_path, shared=True) for _ in range(2)]
    for store in stores:
        await store.start()
    try:
        recommendation_id = new_recommendation_id(time.time())
        stores[0].keep_answer(recommendation_id, "u", b"answer", 60)
        assert await stores[1].kept_answer(recommendation_id) == b"answer"
        assert await stores[1].kept_answer(new_recommendation_id(time.time() - 10)) is None
        short = new_recommendation_id(time.time())
        stores[0].keep_answer(short, None, b"answer", 0.01)
        await asyncio.sleep(0.2)
        assert await Answers(stores[1], 1000, 60).find(short) is None
    finally:
        for store in stores:
            await store.stop()


def noise(path: Path) -> None:
    path.write_bytes(b"\xa5" * 8192)


def torn(path: Path) -> None:
    """Only the first bytes of a page reached the disk."""
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE kept (id TEXT PRIMARY KEY)")
    connection.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + b"\xa5" * (len(whole) - 100))


def foreign(path: Path) -> None:
    """Another version's, perhaps."""
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE kept (id TEXT PRIMARY KEY)")
    connection.close()


@pytest.mark.parametrize("damage", [noise, torn, foreign])
async def test_a_damaged_file_of_answers_is_begun_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    """It is a cache, written without waiting for the disk; all workers go on with the same new file."""
    damage(tmp_path / SHELF_FILE)
    stores = [EmbeddedState(tmp_path, shared=True) for _ in range(3)]
    await asyncio.gather(*(store.start() for store in stores))
    try:
        assert caplog.text.count("is damaged and begun anew") == 1
        for keeping in stores:
            recommendation_id = new_recommendation_id(time.time())
            keeping.keep_answer(recommendation_id, "u", b"answer", 60)
            for store in stores:
                assert await store.kept_answer(recommendation_id) == b"answer"
    finally:
        for store in stores:
            await store.stop()


async def test_workers_that_start_together_in_a_new_folder_all_start(tmp_path: Path) -> None:
    """SQLite does not wait, whatever its timeout says, where two connections make the same new file at once."""
    together = threading.Barrier(6)

    def worker(store: EmbeddedState) -> None:
        async def life() -> None:
            await store.start()
            await store.stop()

        together.wait()
        asyncio.run(life())

    for number in range(40):
        stores = [EmbeddedState(tmp_path / f"{number}", shared=False) for _ in range(6)]
        await asyncio.gather(*(asyncio.to_thread(worker, store) for store in stores))


async def test_a_start_that_fails_leaves_nothing_open_and_the_next_one_works(tmp_path: Path) -> None:
    def held() -> tuple[list[str], int]:
        own = [thread.name for thread in threading.enumerate() if thread.name.endswith("writer")]
        return own, sum(tmp_path.name in os.path.realpath(link) for link in Path("/proc/self/fd").iterdir())

    (tmp_path / SHELF_FILE).mkdir()
    store = EmbeddedState(tmp_path, shared=True)
    for _ in range(3):
        with pytest.raises(StateUnavailable, match=SHELF_FILE):
            await store.start()
        assert held() == ([], 0)
        with pytest.raises(StateUnavailable, match="not open"):
            await store.append([event("u", "i")])
    (tmp_path / SHELF_FILE).rmdir()
    await store.start()
    assert await store.append([event("u", "i")]) == 1
    assert sorted(held()[0]) == ["answer writer", "state writer"]
    await asyncio.wait_for(store.stop(), 10)
    assert held() == ([], 0)


async def test_a_writer_that_is_started_twice_is_one(tmp_path: Path) -> None:
    writer = Writer(lambda: sqlite3.connect(tmp_path / "file", isolation_level=None))
    before = threading.active_count()
    for _ in range(2):
        writer.start()
    assert threading.active_count() == before + 1
    await asyncio.wait_for(asyncio.to_thread(writer.stop), 10)
    assert not [thread for thread in threading.enumerate() if thread.name == "state writer"]


async def test_answers_take_no_more_of_the_disk_than_they_may(tmp_path: Path) -> None:
    """Events lie on the same one. The newest answers are there, and forgetting works on a full shelf."""
    shelf, most = ShelfFile(tmp_path / "answers", max_bytes=2**20), 2**20
    await shelf.start()
    try:
        newest = ""
        for number in range(800):
            newest = new_recommendation_id(time.time())
            shelf.put(newest, f"user {number}", bytes(5000), 60)
            if number % 50 == 49:
                assert await shelf.get(newest) == bytes(5000)
        assert (tmp_path / "answers").stat().st_size <= most
        await shelf.forget("user 799")
        assert await shelf.get(newest) is None
    finally:
        await shelf.stop()
