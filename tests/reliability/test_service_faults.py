"""Workers killed and snapshots damaged under load: the one before goes on, and only a dead worker drops requests."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from model_store.store import Store
from service.settings import Settings
from tests.reliability.conftest import READERS, WRITERS, Record, TwoSnapshots, loaded, two_snapshots
from tests.support.load import Load
from tests.support.processes import workers_of
from tests.support.service_client import started

PATIENCE_SECONDS = 60.0
WORKERS = 2
_numbers = itertools.count()
PUBLISHER = """
import sys, time
from pathlib import Path
from model_store.store import Store
store = Store(Path(sys.argv[1]))
until = time.monotonic() + 2
while time.monotonic() < until:
    for snapshot in sys.argv[2:]:
        store.promote(snapshot)
"""


@dataclass(frozen=True)
class Running:
    """Two workers with the embedded state."""

    address: str
    parent: int
    store: TwoSnapshots
    settings: Settings

    def load(self, **options: Any) -> Load:
        """Readers and writers on it; the writers are new to the service."""
        newcomers = [f"newcomer {next(_numbers)}" for _ in range(6)]
        return Load(self.address, self.store.exact, READERS, newcomers, **options)

    def everywhere(self, says: Callable[[Any], bool]) -> None:
        """Wait until `/readyz` of every worker says so."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not all(says(httpx.get(f"{self.address}/readyz", timeout=30).json()) for _ in range(10)):
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def replaced(self, dead: int) -> None:
        """Wait until another worker runs in the place of `dead`."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while dead in (alive := workers_of(self.parent)) or len(alive) < WORKERS:
            assert time.monotonic() < deadline
            time.sleep(0.1)

    @contextmanager
    def pointing(self, snapshot: str) -> Iterator[None]:
        """The pointer names `snapshot`, whatever that is, and afterwards the first one again."""
        file = self.store.root / "CURRENT"
        file.write_text(f"{snapshot}\n")
        yield
        file.write_text(f"{self.store.first}\n")
        self.everywhere(lambda ready: ready["status"] == "ready")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    store = two_snapshots(tmp_path_factory.mktemp("store"))
    state = tmp_path_factory.mktemp("state")
    settings = Settings(store=store.root, state=state)
    environment = {"MAGNET_SNAPSHOT_POLL_SECONDS": "0.1", "MAGNET_STATE": str(state)}
    with started(store.root, workers=WORKERS, **environment) as (address, parent):
        yield Running(address, parent, store, settings)


def flip(file: Path) -> None:
    """Turn one bit of a published file."""
    content = bytearray(file.read_bytes())
    content[-10] ^= 1
    file.chmod(0o600)
    file.write_bytes(content)


def truncate(file: Path) -> None:
    """Cut a published file short."""
    file.chmod(0o600)
    os.truncate(file, file.stat().st_size // 2)


def fill_up(file: Path) -> None:
    """Write until nothing more fits."""
    with suppress(OSError), file.open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))


@contextmanager
def damaged(store: TwoSnapshots, harm: Callable[[Path], None]) -> Iterator[str]:
    """The second snapshot, damaged, and afterwards whole again."""
    folder = store.root / "snapshots" / store.second
    kept = store.root / "kept"
    shutil.copytree(folder, kept)
    harm(folder / "arrays" / "item_parts.npy")
    yield store.second
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o700)
    shutil.rmtree(folder)
    kept.rename(folder)


def test_a_worker_killed_while_the_pointer_names_a_damaged_snapshot(running: Running, record: Record) -> None:
    """Its successor starts with nothing to go on with, and serves what the others do."""
    load = running.load()
    fault = "worker killed (SIGKILL) while the pointer names a bit-flipped snapshot"
    under_load = loaded(load, record, fault, running.settings, fails=load.connections)  # those under way in that worker
    with under_load, damaged(running.store, flip) as bad, running.pointing(bad):
        running.everywhere(lambda ready: f"snapshot {bad} was refused" in str(ready["degraded"]))
        (victim, *_) = workers_of(running.parent)
        os.kill(victim, signal.SIGKILL)
        running.replaced(victim)
        running.everywhere(lambda ready: ready["snapshot"] == running.store.first)
        running.everywhere(lambda ready: f"snapshot {bad} was refused" in str(ready["degraded"]))
    assert load.tally.snapshots == {running.store.first}


@pytest.mark.slow
def test_workers_killed_again_and_again(running: Running, record: Record) -> None:
    load, kills = running.load(), 4
    fault, fails = f"a worker killed (SIGKILL), {kills} times", kills * load.connections
    with loaded(load, record, fault, running.settings, fails=fails):
        for number in range(kills):
            victim = workers_of(running.parent)[number % WORKERS]
            os.kill(victim, signal.SIGKILL)
            running.replaced(victim)
            running.everywhere(lambda ready: ready["status"] == "ready")


@pytest.mark.slow
def test_a_truncated_snapshot(running: Running, record: Record) -> None:
    load = running.load()
    under_load = loaded(load, record, "pointer to a truncated snapshot", running.settings)
    with under_load, damaged(running.store, truncate) as bad, running.pointing(bad):
        running.everywhere(lambda ready: f"snapshot {bad} was refused" in str(ready["degraded"]))
    assert load.tally.snapshots == {running.store.first}


@pytest.mark.slow
@pytest.mark.parametrize("named", ["0" * 32, "../../etc/passwd", ""])
def test_the_pointer_names_nothing_there_is(running: Running, record: Record, named: str) -> None:
    fault = f"pointer to a snapshot that does not exist ({named!r})"
    with loaded(running.load(), record, fault, running.settings), running.pointing(named):
        running.everywhere(lambda ready: ready["status"] == "degraded")


@pytest.mark.slow
def test_two_publishers_promote_at_once(running: Running, record: Record) -> None:
    load = running.load()
    both = [running.store.first, running.store.second]
    with loaded(load, record, "two publishers promoting at once for 2 s", running.settings):
        commands = [[sys.executable, "-c", PUBLISHER, str(running.store.root), *order] for order in (both, both[::-1])]
        publishers = [subprocess.Popen(command) for command in commands]
        assert [publisher.wait() for publisher in publishers] == [0, 0]
        store = Store(running.store.root)
        current = store.current()
        store.verify(str(current))
        running.everywhere(lambda ready: ready["snapshot"] == current)
    assert load.tally.snapshots == set(both)
    store.promote(running.store.first)


@pytest.mark.slow
def test_the_disk_is_full(small_disks: Callable[[int], Path], record: Record) -> None:
    """Events are refused while there is no room for them, and nothing else."""
    disk = small_disks(8192)
    store = two_snapshots(disk / "store")
    settings = Settings(store=store.root, state=disk / "state")
    with started(store.root, MAGNET_STATE=str(disk / "state")) as (address, _):
        load = Load(address, store.exact, READERS, WRITERS)
        with loaded(load, record, "the disk of store and state full", settings):
            filler = disk / "filler"
            fill_up(filler)
            time.sleep(1)
            refused = load.tally.refused
            filler.unlink()
        assert refused > 0
