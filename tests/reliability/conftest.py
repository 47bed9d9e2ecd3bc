"""A store with two snapshots whose exact answers are known, and a place to write down what a fault did."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from model_store.events import Event, read_events
from service.event_export import export_to
from service.settings import Settings
from tests.support.exact import Exact
from tests.support.load import Load
from tests.support.service_client import ServiceClient, in_process, promoted
from tests.support.tiny_snapshot import write_tiny_pair_snapshot

N_ITEMS = 120
READERS = [f"user/{row:03d}" for row in (1, 2, 4, 5, 7, 8)]
WRITERS = [f"user/{row:03d}" for row in (10, 11, 13, 14, 16, 17)]
SETTLE_SECONDS = 0.6
"""Load before a fault and after it is mended, at least."""
MOMENT_READS = 30
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class TwoSnapshots:
    """A store; the first snapshot is current."""

    root: Path
    first: str
    second: str
    exact: dict[str, Exact]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def two_snapshots(root: Path) -> TwoSnapshots:
    """Make the store at `root`."""
    first, second = [write_tiny_pair_snapshot(root, seed=seed, n_items=N_ITEMS) for seed in (0, 1)]
    promoted(root, first)
    exact = {name: Exact(root / "snapshots" / name) for name in (first, second)}
    return TwoSnapshots(root, first, second, exact)


@pytest.fixture
def store(tmp_path: Path) -> TwoSnapshots:
    """A store of the test's own."""
    return two_snapshots(tmp_path / "store")


@pytest.fixture(scope="session")
def store_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that tests only read."""
    return two_snapshots(tmp_path_factory.mktemp("shared")).root


@pytest.fixture
async def client(store_root: Path, tmp_path: Path) -> AsyncIterator[ServiceClient]:
    """The service over that store, with a state of its own."""
    async with in_process(store_root, state=tmp_path / "state") as client:
        yield client


Record = Callable[..., None]


@pytest.fixture
def record(record_property: Callable[[str, object], None]) -> Record:
    """Writes down what a fault did, for tests/RELIABILITY.md: its name, and counts of what happened."""

    def write(fault: str, **counts: object) -> None:
        record_property("fault", json.dumps({"fault": fault, **counts}))

    return write


def settle(load: Load) -> None:
    """Let it run for a moment, on a busy machine until enough was asked to say something."""
    began, before = time.monotonic(), load.tally.reads
    time.sleep(SETTLE_SECONDS)
    while load.tally.reads < before + MOMENT_READS or (load.clicks and not load.acknowledged()):
        assert time.monotonic() < began + PATIENCE_SECONDS, load.tally
        time.sleep(0.1)


@contextmanager
def loaded(load: Load, record: Record, fault: str, settings: Settings, *, fails: int = 0) -> Iterator[Load]:
    """Run the block, which breaks something and mends it, under load.

    Afterwards: no wrong answer, at most `fails` reads without an answer, every acknowledged event still there.
    """
    with load:
        settle(load)
        yield load
        settle(load)
    tally = load.tally
    kept = kept_events(settings)
    lost = load.acknowledged() - kept
    record(
        fault,
        reads=tally.reads,
        failed=len(tally.failed),
        wrong=len(tally.wrong),
        degraded=tally.degraded,
        writes=tally.writes,
        refused=tally.refused,
        acknowledged=len(load.acknowledged()),
        lost=len(lost),
        slowest_seconds=round(tally.quantile(1.0), 3),
    )
    assert tally.wrong == []
    assert len(tally.failed) <= fails, tally.failed
    assert lost == set()


def kept_events(settings: Settings) -> set[str]:
    """Ids of the events in the state."""
    assert settings.state is not None
    out = settings.state / "events.jsonl"
    out.parent.mkdir(parents=True, exist_ok=True)
    export_to(settings, out)
    return {entry.event_id for entry in read_events(out) if isinstance(entry, Event)}
