"""What events take in Redis: memory and disk, per event and per user. A real server, the service's code.

`python -m tests.benchmarks.state_memory` prints the figures and writes them to `results/state_memory.json`.
"""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from model_store.events import Event
from service.state.redis import RedisState
from tests.benchmarks.tables import Result, Table
from tests.support.redis_server import RedisServer

BATCH = 200
MEBIBYTE = 2**20
START = 1_790_000_000.0
DAYS = 30
N_ITEMS = 7000


@dataclass(frozen=True)
class Taken:
    """What one load took, in bytes."""

    events: int
    users: int
    memory: int
    peak: int
    file: int
    by_key: dict[str, int]


@click.command()
@click.option(
    "--events", type=click.IntRange(BATCH), default=150_000, show_default=True, help="Events of the first load."
)
@click.option("--users", type=click.IntRange(1), default=15_000, show_default=True, help="Users who send them.")
def main(events: int, users: int) -> None:
    """Fill a Redis of its own twice: with many events per user, and with one event of each of as many users."""
    loads = [measured(events, users), measured(events // 3, events // 3)]
    rows = [
        [f"{load.events:,} of {load.users:,} users", f"{load.memory / load.events:.0f}", *_shares(load)]
        for load in loads
    ]
    # two loads, two unknowns: memory = events · a + users · b
    sides = np.array([[load.events, load.users] for load in loads], float)
    per_event, per_user = np.linalg.solve(sides, np.array([load.memory for load in loads], float))
    columns = ["events", "bytes per event in all", "log", "event ids", "lists of users", "on disk"]
    fitted = Table(
        "A million, in MiB of Redis",
        ["events (of users known before)", "users (with one event)"],
        [[f"{1e6 * per_event / MEBIBYTE:.0f}", f"{1e6 * (per_event + per_user) / MEBIBYTE:.0f}"]],
    )
    raw: dict[str, object] = {"per_event": per_event, "per_user": per_user, "loads": [vars(load) for load in loads]}
    Result("state_memory", [Table("Events in Redis, bytes", columns, rows), fitted], raw).keep()


def measured(n_events: int, n_users: int) -> Taken:
    """Fill an empty Redis, and ask it what that takes."""
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder), "--appendfsync", "no")
        server.start()
        try:
            with server.client() as client:
                before = int(client.info("memory")["used_memory"])
                asyncio.run(_fill(server.url, n_events, n_users))
                info = client.info("memory")
                after, peak = int(info["used_memory"]), int(info["used_memory_peak"])
                keys = {
                    name: int(client.memory_usage(f"magnet:{name}", samples=0) or 0) for name in ("log", "event_ids")
                }
            file = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
            return Taken(n_events, n_users, after - before, peak, file, keys)
        finally:
            server.stop()


def _shares(load: Taken) -> list[str]:
    named = [load.by_key["log"], load.by_key["event_ids"]]
    return [f"{size / load.events:.0f}" for size in (*named, load.memory - sum(named), load.file)]


async def _fill(url: str, n_events: int, n_users: int) -> None:
    """Random clicks over a month, by ids of 32 digits, as a platform might send them."""
    store, rng = RedisState(url), np.random.default_rng(0)
    users = [f"user-{number:08d}" for number in range(n_users)]
    await store.start()
    try:
        for start in range(0, n_events, BATCH):
            batch = range(start, min(start + BATCH, n_events))
            await store.append([_event(users[number % n_users], number, rng) for number in batch])
    finally:
        await store.stop()


def _event(user: str, number: int, rng: np.random.Generator) -> Event:
    return Event(
        event_id=secrets.token_hex(16),
        user=user,
        item=f"item-{int(rng.integers(N_ITEMS)):06d}",
        type="click",
        timestamp=START + float(rng.integers(DAYS * 86400)),
    )


if __name__ == "__main__":
    main()
