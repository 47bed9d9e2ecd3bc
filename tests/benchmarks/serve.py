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
PACED_SECONDS = 3.0
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


@dataclass
class Pace:
    """Calls to one server that are due at fixed times, and what came of them in every round, in milliseconds."""

    name: str
    server: Server
    path_of: Callable[[int], str]
    rate: float
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    longest: list[float] = field(default_factory=list)

    def ask(self) -> None:
        """One round."""
        taken = paced(self.server.address, self.path_of, self.rate, PACED_SECONDS)
        self.p50.append(part(taken, 0.5))
        self.p99.append(part(taken, 0.99))
        self.longest.append(taken[-1])

    def row(self) -> list[str]:
        """Name, rate, and of every figure the median of the rounds, the least and the most."""
        return [self.name, f"{self.rate:,.0f}", spread(self.p50), spread(self.p99), spread(self.longest, 1)]


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
            again, new = (max(rates[name]) / 2 for name in ("asked again", "a new user each"))
            paces = [
                Pace("bare ASGI at this pace", basis, _again, again),
                Pace("asked again", plain, _again, again),
                Pace("bare ASGI at this pace", basis, _again, new),
                Pace("a new user each", fresh, _new_user, new),
            ]
            for _ in range(ROUNDS):
                for pace in paces:
                    pace.ask()
            paced(watched.address, _new_user, max(rates["a new user each, nothing made ahead"]) / 2, PACED_SECONDS)
        longest = json.loads(watch.read_text())
        size = body.stat().st_size
    raw: dict[str, object] = {
        "rates": {f"{case.name}, {case.connections}": case.rates for case in cases},
        "longest callbacks": longest,
        "made ahead in seconds": max(filled),
    }
    Result("serve", _tables(cases, paces, size, float(longest[0][0]) * 1e3), raw).keep()


def _again(_: int) -> str:
    return AGAIN


def _new_user(number: int) -> str:
    return f"/recommend/{user_id(number % BABY.users)}"


def _tables(cases: list[Case], paces: list[Pace], size: int, longest: float) -> list[Table]:
    about = f"{BABY.items:,} items × {BABY.users:,} users, generated, 20 items with all their terms, {size:,} bytes"
    return [
        Table(
            f"Requests per second of one worker ({about}), {ROUNDS} rounds",
            ["what", "connections", "requests/s", "of bare ASGI", "µs of processor time", "of bare ASGI by that"],
            [case.row() for case in cases],
        ),
        Table(
            f"Milliseconds per call at half the rate above, 16 connections, calls due at fixed times, {ROUNDS} rounds; "
            "what bare ASGI takes at the same pace is not the service's",
            ["what", "calls/s", "p50", "p99", "longest"],
            [pace.row() for pace in paces],
        ),
        Table(
            "The event loop, asked about a new user each, nothing made ahead, at half the rate above",
            ["what", "milliseconds of processor time"],
            [["longest callback", f"{longest:.1f}"]],
        ),
    ]
