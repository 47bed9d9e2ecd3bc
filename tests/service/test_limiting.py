"""Rates hold over all workers that share a Redis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from limits import parse
from pydantic import SecretStr
from starlette.types import Scope

from service.access import caller_of
from service.errors import TooManyRequests
from service.limiting import Limiting, OwnCounter
from service.settings import Settings
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.anyio


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


def asked_by(key: str) -> Scope:
    return {"type": "http", "headers": [(b"x-api-key", key.encode())], "client": ("address", 1)}


async def passes(worker: Limiting, scope: Scope) -> bool:
    try:
        await worker.check(caller_of(scope), scope)
    except TooManyRequests as refused:
        return not 1 <= int(refused.headers["Retry-After"]) <= 60
    return True


async def test_workers_count_together_each_key_for_itself(redis: RedisServer) -> None:
    settings = Settings(redis_url=SecretStr(redis.url))
    workers = [Limiting("5/minute", settings) for _ in range(2)]
    assert [await passes(worker, asked_by("a")) for _ in range(3) for worker in workers] == [True] * 5 + [False]
    for worker in workers:
        assert not await passes(worker, asked_by("a"))
        assert await passes(worker, asked_by("b"))
    with redis.client() as plain:
        names = plain.keys("*")
    assert isinstance(names, list)
    assert not [name for name in names if b"/a/" in name]  # names do not tell the key
    for worker in workers:
        await worker.close()


async def test_a_call_counts_for_as_long_as_the_rate_says() -> None:
    clock = iter((0.0, 50.0, 59.9, 60.0, 61.0, 110.0, 110.0))
    counter = OwnCounter(parse("2/minute"), lambda: next(clock))
    waits = [await counter.wait("a") for _ in range(6)]
    assert waits == [None, None, pytest.approx(0.1), None, 49.0, None]
    assert await counter.wait("b") is None


async def test_callers_who_left_are_not_remembered() -> None:
    clock = iter(range(1000))
    counter = OwnCounter(parse("2/second"), lambda: next(clock) / 10)
    for number in range(1000):
        assert await counter.wait(str(number)) is None
    assert len(counter._calls) <= 11
