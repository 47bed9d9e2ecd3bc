"""`make bench BENCH=serve`: requests per second of one worker against bare ASGI, and how long calls take.

All servers stand at once and are asked in turn, round after round, so that every ratio is one of the same minute.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.generated import Size, snapshot, user_id
from tests.benchmarks.load import body_of, paced, part, wrk
from tests.benchmarks.servers import Server, bare, service
from tests.benchmarks.tables import Result, Table, ratios, spread
from tests.support.redis_server import RedisServer

BABY = Size(7_000, 19_000)
CONNECTIONS = (1, 16, 64)
ROUNDS = 3
SECONDS = 2
KEY = "benchmark"
OFF = {"metrics": "false", "ahead_memory_mb": "0"}
NEW = {"metrics": "false", "cache_memory_mb": "0", "router_memory_mb": "0"}
LIMIT = "10000000/second"
STACK = {
    "metrics": OFF | {"metrics": "true"},
    "keys": OFF | {"api_keys": KEY},
    "rate limit": OFF | {"rate_limit": LIMIT},
    "all of them": OFF | {"metrics": "true", "api_keys": KEY, "rate_limit": LIMIT},
}
PACED_SECONDS = 4.0
AGAIN = f"/recommend/{user_id(5)}"


@dataclass
class Case:
    """One way to ask one server, and what came of it in every round."""

    name: str
    server: Server
    connections: int
    new_users: bool
    bare: Case | None = None
    keyed: bool = False
    rates: list[float] = field(default_factory=list)
    micros: list[float] = field(default_factory=list)
    """Processor time per request, µs."""

    def ask(self, turn: int) -> None:
        """One round; where users have to be new, each request of it is about another one, and nothing is kept of it."""
        key = KEY if self.keyed else None
        users = (turn * (BABY.users // ROUNDS), BABY.users) if self.new_users else None
        seconds = 1 if self.new_users else SECONDS
        url = self.server.address if self.new_users else self.server.address + AGAIN
        before = self.server.processor_seconds()
        load = wrk(url, self.connections, seconds, users=users, key=key)
        self.rates.append(load.rate)
        self.micros.append((self.server.processor_seconds() - before) / load.count * 1e6)

    def row(self) -> list[str]:
        """Name, connections, rate, share of bare; processor time, and the share that this makes."""
        shares = ["1", "1"]
        if self.bare is not None:
            shares = [spread(ratios(self.rates, self.bare.rates)), spread(ratios(self.bare.micros, self.micros))]
        return [self.name, str(self.connections), spread(self.rates, 0), shares[0], spread(self.micros, 0), shares[1]]


def run(folder: Path) -> None:
    """Measure and keep."""
    store = folder / BABY.name
    snapshot(store, BABY)
    with ExitStack() as stack, tempfile.TemporaryDirectory() as scratch:
        states = iter(range(1000))

        def serving(**settings: str) -> Server:
            state = Path(scratch, f"state-{next(states)}")
            return stack.enter_context(service(store, state, **settings))

        redis = RedisServer(Path(scratch, "redis"))
        redis.start()
        stack.callback(redis.stop)
        plain = serving(**OFF)
        body = body_of(plain.address + AGAIN, Path(scratch))
        basis = stack.enter_context(bare(body))
        bases = {count: Case("bare ASGI, the same bytes", basis, count, False) for count in CONNECTIONS}
        cases = list(bases.values())
        cases += [Case("asked again", plain, count, False, bases[count]) for count in CONNECTIONS]
        for name, settings in STACK.items():
            keyed = "api_keys" in settings
            cases.append(Case(f"asked again, with {name}", serving(**settings), 16, False, bases[16], keyed))
        with_redis = serving(**OFF, redis_url=redis.url)
        cases.append(Case("asked again, Redis", with_redis, 16, False, bases[16]))
        fresh = serving(**NEW)
        cases += [Case("a new user each", fresh, count, True, bases[count]) for count in CONNECTIONS]
        in_redis = serving(**NEW, redis_url=redis.url, redis_prefix="new:")
        cases.append(Case("a new user each, Redis", in_redis, 16, True, bases[16]))
        usual = NEW | {"ahead_memory_mb": "0"}
        late = serving(**usual)
        cases.append(Case("a new user each, nothing made ahead", late, 16, True, bases[16]))
        watch = Path(scratch, "watch.json")
        os.environ["BENCHMARK_WATCH"] = str(watch)
        watched_state = Path(scratch, "watched")
        with service(
            store, watched_state, app="tests.benchmarks.watched:create_app", loop="asyncio", **usual
        ) as watched:
            filled = [server.wait_for_ahead(BABY.users) for server in (fresh, in_redis)]
            for turn in range(ROUNDS):
                for case in cases:
                    case.ask(turn)
            rates = {case.name: case.rates for case in cases if case.connections == 16}
            times = [
                _paced("asked again", plain, lambda _: AGAIN, max(rates["asked again"]) / 2),
                _paced("a new user each", fresh, _new_user, max(rates["a new user each"]) / 2),
            ]
            paced(watched.address, _new_user, max(rates["a new user each, nothing made ahead"]) / 2, PACED_SECONDS)
        longest = json.loads(watch.read_text())
        size = body.stat().st_size
    raw: dict[str, object] = {
        "rates": {f"{case.name}, {case.connections}": case.rates for case in cases},
        "longest callbacks": longest,
        "made ahead in seconds": max(filled),
    }
    Result("serve", _tables(cases, times, size, float(longest[0][0]) * 1e3), raw).keep()


def _new_user(number: int) -> str:
    return f"/recommend/{user_id(number % BABY.users)}"


def _paced(name: str, server: Server, path_of: Callable[[int], str], rate: float) -> list[str]:
    taken = paced(server.address, path_of, rate, PACED_SECONDS)
    return [name, f"{rate:,.0f}", *(f"{part(taken, share):.2f}" for share in (0.5, 0.99)), f"{taken[-1]:.1f}"]


def _tables(cases: list[Case], times: list[list[str]], size: int, longest: float) -> list[Table]:
    about = f"{BABY.items:,} items × {BABY.users:,} users, generated, 20 items with all their terms, {size:,} bytes"
    return [
        Table(
            f"Requests per second of one worker ({about}), {ROUNDS} rounds",
            ["what", "connections", "requests/s", "of bare ASGI", "µs of processor time", "of bare ASGI by that"],
            [case.row() for case in cases],
        ),
        Table(
            "Milliseconds per call at half the rate above, 16 connections, calls due at fixed times",
            ["what", "calls/s", "p50", "p99", "longest"],
            times,
        ),
        Table(
            "The event loop, asked about a new user each, nothing made ahead, at half the rate above",
            ["what", "milliseconds of processor time"],
            [["longest callback", f"{longest:.1f}"]],
        ),
    ]
