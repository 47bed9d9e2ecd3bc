"""`python -m tests.benchmarks.latency --store STORE SNAPSHOT...`: what one answer of each published snapshot takes.

A service of one worker per snapshot, nothing cached and nothing made ahead: every call scores a user it was not asked
about before. The snapshots are asked in turn, one call at a time, so that all see the same minutes of the machine. The
median goes into the ladder of RESULTS.md with `magnet-train results add RUN --fact latency_ms=...`.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import click
import httpx

from model_store.store import Store
from model_store.write import SNAPSHOTS
from tests.benchmarks.servers import service

NOTHING_KEPT = {"metrics": "false", "cache_memory_mb": "0", "router_memory_mb": "0", "ahead_memory_mb": "0"}
WARM_UP = 20


@click.command()
@click.argument("snapshots", nargs=-1, required=True, metavar="SNAPSHOT...")
@click.option("--store", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--calls", type=click.IntRange(min=2), default=200, show_default=True, help="Per snapshot.")
def main(snapshots: tuple[str, ...], store: Path, calls: int) -> None:
    """Milliseconds of `GET /recommend/<user>` at the client, median and 99th percentile, one line per SNAPSHOT."""
    with ExitStack() as stack, tempfile.TemporaryDirectory() as scratch:
        asked = {name: stack.enter_context(_Asked(store, name, Path(scratch, name), calls)) for name in snapshots}
        for _ in range(WARM_UP + calls):
            for one in asked.values():
                one.call()
        for name, one in asked.items():
            taken = sorted(one.taken[WARM_UP:])
            click.echo(f"{name} p50 {statistics.median(taken):.2f} ms, p99 {taken[int(len(taken) * 0.99)]:.2f} ms")


class _Asked(ExitStack):
    """A service over one snapshot of a store, by a pointer of its own, and what its calls took."""

    def __init__(self, store: Path, snapshot: str, folder: Path, calls: int) -> None:
        super().__init__()
        folder.mkdir()
        (folder / SNAPSHOTS).symlink_to((store / SNAPSHOTS).absolute())
        Store(folder).promote(snapshot)
        opened, count = Store(folder).open(snapshot, verify="size"), WARM_UP + calls
        if opened.n_users < count:
            raise click.ClickException(f"{snapshot}: expected {count} users, found {opened.n_users}")
        self._users = iter([opened.user_id(row * opened.n_users // count) for row in range(count)])
        server = self.enter_context(service(folder, folder / "state", **NOTHING_KEPT))
        self._client = self.enter_context(httpx.Client(base_url=server.address, timeout=30))
        self.taken: list[float] = []

    def call(self) -> None:
        path = f"/recommend/{quote(next(self._users), safe='')}"
        began = time.perf_counter()
        self._client.get(path).raise_for_status()
        self.taken.append((time.perf_counter() - began) * 1e3)


if __name__ == "__main__":
    main()
