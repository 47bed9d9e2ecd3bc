"""Hours in small: the service at 70 % of what it can do, with events, new items and swaps, watched for leaks.

`make soak MINUTES=10` writes tests/reliability/results/soak.json, from which tests/RELIABILITY.md is made. With `--leak
1024` every answer keeps so many bytes for ever and nothing is written: then it is the watching that is tested.
"""

from __future__ import annotations

import collections
import itertools
import json
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import click
import numpy as np

from tests.reliability.record import machine, write_result
from tests.support.crowd import ask_as_a_crowd
from tests.support.exact import TOLERANCE, Exact
from tests.support.processes import descriptors, private_bytes, workers_of
from tests.support.service_client import promoted, started
from tests.support.tiny_encoder import tiny_item_encoder
from tests.support.tiny_snapshot import EXPERTS, FEATURE_WIDTH, MODALITIES, write_tiny_pair_snapshot

N_ITEMS, N_USERS, WORKERS = 2000, 600, 2
CONNECTIONS = 12
SHARE = 0.7
MEASURE_SECONDS = 8.0
SAMPLE_SECONDS = 5.0
SWAP_SECONDS = 10.0
AROUND_SECONDS = 3.0
"""For so long from the beginning of a swap workers load, follow, and have forgotten their prepared answers."""
LIVE_ITEMS = 50
VISITORS = 20
FILLING = 300
"""Batches of a hundred events beforehand: SQLite keeps 2 MB of pages for each connection."""
CROWD = 300
"""Connections of the overload at the end."""
MOST_GROWTH = 0.02
"""Of a worker's memory, in the second half of the run, by a straight line through it; 2 MB are always allowed."""
ADMIN = {"X-API-Key": "admin"}
CACHES = {f"MAGNET_{name}_MEMORY_MB": "8" for name in ("ANSWER", "CACHE", "ROUTER")}
"""Small, so that they are full before memory is judged."""

LEAKING = """
from service.envelope import Envelope

kept, call = [], Envelope.__call__

async def leaking(self, scope, receive, send):
    kept.append(bytearray({size}))
    await call(self, scope, receive, send)

Envelope.__call__ = leaking
"""
"""What Python runs at its start, in every worker, where there shall be a leak."""

Call = tuple[str, str, dict[str, Any] | None]


@dataclass
class Seen:
    """What came back."""

    statuses: collections.Counter[str] = field(default_factory=collections.Counter)
    requests: list[tuple[float, float, float]] = field(default_factory=list)
    """When it was sent, and how long it took from then and from when it was due: with waiting for those before it."""
    wrong: list[str] = field(default_factory=list)
    compared: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Soak:
    """One running service and what is asked of it."""

    def __init__(self, address: str, exact: dict[str, Exact]) -> None:
        self._place = urlsplit(address)
        self._exact = exact
        self._snapshot = next(iter(exact.values())).snapshot
        self.user_ids = [self._snapshot.user_id(row) for row in range(self._snapshot.n_users)]
        self._numbers, self._ids = itertools.count(), itertools.count()
        self._run = f"{time.time_ns():x}"

    def calls(self, chance: random.Random) -> Iterator[Call]:
        """Requests without end: mostly recommendations, some explanations, look-alikes, events and new items.

        What a worker has to keep of them in memory does not grow: the new items are so many, and visitors whose events
        become more and more are forgotten again.
        """
        user_ids = self.user_ids
        item_ids = [self._snapshot.item_id(row) for row in range(self._snapshot.n_items)]
        while True:
            user, item = quote(chance.choice(user_ids), safe=""), quote(chance.choice(item_ids), safe="")
            kind = chance.random()
            if kind < 0.78:
                yield "GET", f"/recommend/{user}?k={chance.choice((5, 10, 20))}", None
            elif kind < 0.83:
                yield "GET", f"/explain?user={user}&item={item}", None
            elif kind < 0.88:
                yield "GET", f"/similar/{item}?k=10", None
            elif kind < 0.98:
                number = next(self._numbers)
                visitor = f"visitor {number // 10 % VISITORS}" if number % 10 == 0 else f"passer-by {number}"
                yield "POST", "/events", {"events": [self._event(visitor, chance.choice(item_ids))]}
            elif kind < 0.989:
                yield "GET", f"/recommend/visitor%20{chance.randrange(VISITORS)}?k=10", None
            elif kind < 0.99:
                yield "DELETE", f"/users/visitor%20{chance.randrange(VISITORS)}", None
            else:
                yield self._new_item(chance.randrange(LIVE_ITEMS), chance)

    def fill(self) -> None:
        """Bring to its bound what the calls fill slowly: items that may be added, pages of the events' tables."""
        items: list[Call] = [self._new_item(number, random.Random(number)) for number in range(LIVE_ITEMS)]
        events: Iterator[Call] = (
            (
                "POST",
                "/events",
                {"events": [self._event(f"before {next(self._numbers)}", "item/001") for _ in range(100)]},
            )
            for _ in range(FILLING)
        )
        for call in itertools.chain(items, events):
            connection = self._connect()  # for each, so that every worker gets some
            status, _ = self._ask(connection, call)
            connection.close()
            assert status == 200, (call[1], status)

    def run(self, seconds: float, connections: int, due: Callable[[int], float] | None, seed: int) -> Seen:
        """Ask for so long; request n is due at `due(n)` (seconds from the start), without it as soon as one may be."""
        seen, numbers, began = Seen(), itertools.count(), time.monotonic()

        def ask(number: int) -> None:
            calls = self.calls(random.Random(1000 * seed + number))
            connection = self._connect()
            while True:
                at = began + due(next(numbers)) if due is not None else time.monotonic()
                if max(at, time.monotonic()) - began >= seconds:
                    break  # on a machine that others slow down meanwhile, with less asked than was due
                time.sleep(max(at - time.monotonic(), 0))
                call = next(calls)
                sent = time.monotonic()
                try:
                    code, answer = self._ask(connection, call)
                    status = str(code)
                except (OSError, HTTPException) as error:
                    connection.close()
                    connection = self._connect()
                    status, answer = type(error).__name__, None
                with seen.lock:
                    seen.statuses[status] += 1
                    seen.requests.append((sent, time.monotonic() - sent, time.monotonic() - at))
                    if status == "200" and call[1].startswith("/recommend/"):
                        self._judge(call[1], answer, seen)
            connection.close()

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return seen

    def swap(self, stopping: threading.Event, began: list[float]) -> None:
        """Change the snapshot again and again until told to stop; `began` gets the times."""
        for snapshot in itertools.cycle(reversed(self._exact)):
            if stopping.wait(SWAP_SECONDS):
                return
            began.append(time.monotonic())
            connection = self._connect()
            status, _ = self._ask(connection, ("POST", "/admin/activate", {"snapshot": snapshot}), ADMIN)
            connection.close()
            assert status == 200, status

    def _event(self, user: str, item: str) -> dict[str, Any]:
        event_id = f"{self._run}-{next(self._ids)}"
        return {"event_id": event_id, "user": user, "item": item, "type": "click", "timestamp": time.time()}

    def _new_item(self, number: int, chance: random.Random) -> Call:
        features = {name: [chance.gauss(0, 1) for _ in range(FEATURE_WIDTH)] for name in MODALITIES[1:]}
        return "PUT", f"/items/new%20{number}", {"title": "New", "features": features}

    def _judge(self, path: str, answer: Any, seen: Seen) -> None:
        """Every score of a known user's answer is the exact one of the snapshot that it names."""
        exact = self._exact[answer["snapshot"]]
        if answer["strategy"] != "personalised" or answer["events_used"]:
            return
        scores = exact.unfiltered(answer["user"], ())
        for entry in answer["items"]:
            row = exact.snapshot.item_row(entry["item"])
            if row is None:
                continue  # an item added since; its score is inferred
            seen.compared += 1
            if not abs(scores[row] - entry["score"]) <= TOLERANCE:
                seen.wrong.append(f"{path}: {entry['item']} scored {entry['score']}, expected {scores[row]}")

    def _connect(self) -> HTTPConnection:
        return HTTPConnection(str(self._place.hostname), self._place.port, timeout=30)

    def _ask(self, connection: HTTPConnection, call: Call, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        method, path, body = call
        given = {"Content-Type": "application/json"} if body is not None else {}
        connection.request(method, path, json.dumps(body) if body is not None else None, given | (headers or {}))
        response = connection.getresponse()
        content = response.read()
        return response.status, json.loads(content) if content else None


def slope(times: list[float], values: list[float]) -> float:
    """What a straight line through the points gains per second."""
    return float(np.polyfit(times, values, 1)[0]) if len(times) > 1 else 0.0


def grows(worker: dict[str, Any]) -> bool:
    """Whether the worker's memory gained more than a worker's may."""
    return bool(worker["memory_gained_mb"] >= max(MOST_GROWTH * worker["memory_mb"], 2.0))


def around(swaps: list[float], requests: list[tuple[float, float, float]]) -> list[bool]:
    """Which requests were sent while a swap was under way."""
    return [any(0 <= sent - began < AROUND_SECONDS for began in swaps) for sent, _, _ in requests]


def quantiles(seconds: list[float]) -> dict[str, float]:
    """p50, p99 and the slowest, in milliseconds."""
    found = np.quantile(seconds or [0.0], [0.5, 0.99, 1.0]) * 1000
    return {name: round(float(value), 1) for name, value in zip(("p50_ms", "p99_ms", "slowest_ms"), found, strict=True)}


@click.command()
@click.option("--minutes", type=float, default=10.0, show_default=True)
@click.option("--leak", "leaked", type=int, default=0, help="Bytes that every answer leaks: to see that it is noticed.")
def main(minutes: float, leaked: int) -> None:
    """Measure, soak, overload, judge."""
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        encoder = tiny_item_encoder(MODALITIES, FEATURE_WIDTH, width=32, n_experts=len(EXPERTS), residual_width=8)
        sizes: dict[str, Any] = {"n_users": N_USERS, "n_items": N_ITEMS, "embedding_size": 32, "residual_width": 8}
        ids = [
            write_tiny_pair_snapshot(root, seed=seed, depth=200, files={"item_encoder.onnx": encoder}, **sizes)
            for seed in (0, 1)
        ]
        promoted(root, ids[0])
        exact = {name: Exact(root / "snapshots" / name) for name in ids}
        for each, row in itertools.product(exact.values(), range(N_USERS)):
            each.unfiltered(each.snapshot.user_id(row), ())  # once asked for under load, these held the callers up
        environment = {**CACHES, "MAGNET_ADMIN_KEY": "admin", "MAGNET_MAX_IN_FLIGHT": "32"}
        if leaked:
            (root / "sitecustomize.py").write_text(LEAKING.format(size=leaked))
            environment["PYTHONPATH"] = str(root)
        address, parent = stack.enter_context(started(root, workers=WORKERS, **environment))
        soak = Soak(address, exact)
        soak.fill()
        soak.run(MEASURE_SECONDS / 2, CONNECTIONS, None, seed=1)  # warm
        free = soak.run(MEASURE_SECONDS, CONNECTIONS, None, seed=2)
        saturated = len(free.requests) / MEASURE_SECONDS
        rate = SHARE * saturated
        click.echo(f"saturated at {saturated:.0f} requests/s; {minutes:g} minutes at {rate:.0f}")

        stopping, swaps = threading.Event(), list[float]()
        samples: dict[int, list[tuple[float, int, int]]] = {worker: [] for worker in workers_of(parent)}

        def watch() -> None:
            began = time.monotonic()
            while not stopping.wait(SAMPLE_SECONDS):
                for worker, taken in samples.items():
                    taken.append((time.monotonic() - began, private_bytes(worker), descriptors(worker)))

        beside = [threading.Thread(target=watch), threading.Thread(target=soak.swap, args=(stopping, swaps))]
        for thread in beside:
            thread.start()
        seen = soak.run(60 * minutes, CONNECTIONS, lambda number: number / rate, seed=3)
        stopping.set()
        for thread in beside:
            thread.join()
        alive = workers_of(parent)
        paths = [f"/recommend/{quote(user, safe='')}?k=20" for user in soak.user_ids]
        crowd = ask_as_a_crowd(address, paths, CROWD, MEASURE_SECONDS).told()
        after = soak.run(2, 2, None, seed=5)

    workers = []
    for taken in samples.values():
        times, memory, open_files = zip(*taken[len(taken) // 2 :], strict=True)
        gained = slope(list(times), list(memory)) * (times[-1] - times[0])
        workers.append(
            {
                "memory_mb": round(float(np.mean(memory)) / 2**20, 1),
                "memory_gained_mb": round(gained / 2**20, 2),
                "memory_every_5_s_mb": [round(written / 2**20, 1) for _, written, _ in taken],
                "over_minutes": round((times[-1] - times[0]) / 60, 1),
                "descriptors_first": open_files[0],
                "descriptors_last": open_files[-1],
            }
        )
    swapping = around(swaps, seen.requests)
    failed = {status: count for status, count in seen.statuses.items() if status not in ("200", "503")}
    result = {
        "machine": machine(),
        "minutes": minutes,
        "saturated_per_second": round(saturated),
        "rate_per_second": round(rate),
        "requests": len(seen.requests),
        "refused": seen.statuses["503"],
        "failed": failed,
        "scores_compared": seen.compared,
        "wrong": len(seen.wrong),
        "swaps": len(swaps),
        "around_seconds": AROUND_SECONDS,
        "from_due": quantiles([due for _, _, due in seen.requests]),
        "from_sent": quantiles([sent for _, sent, _ in seen.requests]),
        "from_sent_around_swaps": quantiles(
            [sent for (_, sent, _), near in zip(seen.requests, swapping, strict=True) if near]
        ),
        "workers": workers,
        "overload": {"connections": CROWD, **crowd},
        "after_overload": dict(after.statuses),
    }
    growing = [worker for worker in workers if grows(worker)]
    if leaked:
        click.echo(json.dumps(workers, indent=2))
        assert growing == workers, f"a leak of {leaked} bytes for each answer was not noticed"
        return
    write_result("soak", result)
    click.echo(json.dumps(result, indent=2))
    assert sorted(samples) == sorted(alive), "a worker died"
    assert seen.wrong == [], seen.wrong[:5]
    assert not failed, failed
    assert set(crowd) <= {"200", "503"}, crowd
    assert set(after.statuses) == {"200"}, after.statuses
    assert not growing, growing
    for worker in workers:
        assert worker["descriptors_last"] <= worker["descriptors_first"] + CONNECTIONS, worker


if __name__ == "__main__":
    main()
