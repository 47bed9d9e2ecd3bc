"""`make bench BENCH=store`: a snapshot of 1,000,000 items × 1,000,000 users, streamed to disk and mapped again."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from model_store import Store
from tests.benchmarks.generated import Size, snapshot
from tests.benchmarks.tables import Result, Table

SIZES = (Size(100_000, 100_000), Size(1_000_000, 1_000_000))
SAMPLE_SECONDS = 0.1


@dataclass
class Cost:
    """Seconds, and the most anonymous memory meanwhile beyond what there was before."""

    seconds: float = 0.0
    mebibytes: float = 0.0


def run(folder: Path) -> None:
    """Measure and keep."""
    rows = []
    for size in SIZES:
        root = folder / f"exported-{size.name}"
        shutil.rmtree(root, ignore_errors=True)
        with _costs() as writing:
            found = snapshot(root, size)
        with _costs() as checking:
            Store(root).open(found, verify="hash")
        with _costs() as opening:
            opened = Store(root).open(found, verify="size")
        disk = sum(info.bytes for info in opened.manifest.files.values()) / 2**20
        costs = [f"{cost.seconds:,.1f}" for cost in (writing, opening, checking)]
        memory = [f"{cost.mebibytes:,.0f}" for cost in (writing, opening)]
        rows.append([f"{size.items:,}", f"{size.users:,}", f"{disk:,.0f}", *costs, *memory])
        del opened
        for path in (root, *root.rglob("*")):  # published files are read-only
            path.chmod(0o700)
        shutil.rmtree(root)
    columns = ["items", "users", "MiB on disk", "written, s", "opened, s", "every hash, s"]
    columns += ["memory of writing, MiB", "of opening, MiB"]
    Result("store", [Table("Streaming a generated snapshot, its index built on the way", columns, rows)]).keep()


@contextmanager
def _costs() -> Iterator[Cost]:
    """What the body takes; a mapped file's pages belong to the system and do not count."""
    cost, before, done = Cost(), _anonymous(), threading.Event()

    def watch() -> None:
        while not done.wait(SAMPLE_SECONDS):
            cost.mebibytes = max(cost.mebibytes, _anonymous() - before)

    thread = threading.Thread(target=watch)
    thread.start()
    began = time.perf_counter()
    try:
        yield cost
    finally:
        cost.seconds = time.perf_counter() - began
        done.set()
        thread.join()


def _anonymous() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise OSError("expected RssAnon in /proc/self/status")
