"""Rates hold over all workers that share a Redis."""

from __future__ import annotations

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
from tests.support.service_client import in_process

pytestmark = pytest.mark.anyio


def asked_by(key: str) -> Scope:
    return {"type": "http", "headers": [(b"x-api-key", key.encode())], "client": ("address", 1)}


async def passes(worker: Limiting, scope: Scope) -> bool:
    try:
        await worker.check(caller_of(scope), scope)
    except TooManyRequests as refused:
        return not 1 <= int(refused.headers["Retry-After"]) <= 60
    return True


async def test_through_a_socket_workers_count_together_too(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis", "--unixsocket", str(tmp_path / "redis.sock"))
    server.start()
    try:
        settings = Settings(redis_url=SecretStr(f"unix://{tmp_path}/redis.sock"))
        workers = [Limiting("3/minute", settings) for _ in range(2)]
        assert [await passes(worker, asked_by("a")) for _ in range(2) for worker in workers] == [True] * 3 + [False]
        for worker in workers:
            await worker.close()
    finally:
        server.stop()


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


@pytest.mark.parametrize("path", ["/", "/console/icon.svg", "/experts"])
@pytest.mark.parametrize("keys", [{}, {"api_keys": SecretStr("first, second")}])
async def test_a_name_that_is_no_key_counts_as_its_address(
    store_root: Path, tmp_path: Path, keys: dict[str, SecretStr], path: str
) -> None:
    """Else a caller is never held back, and each name it makes up is remembered."""
    async with in_process(store_root, state=tmp_path, rate_limit="5/minute", **keys) as client:
        assert client.service.limiting is not None
        counter = client.service.limiting._counter
        assert isinstance(counter, OwnCounter)
        calls = [await client.get(path, headers={"X-API-Key": f"made up {number}"}) for number in range(7)]
        statuses = [reply.status_code for reply in calls]
        if keys and path == "/experts":
            assert (statuses, len(counter._calls)) == ([401] * 7, 0)
        else:
            assert (statuses, len(counter._calls)) == ([200] * 5 + [429] * 2, 1)
        for key in ("first", "second") if keys else ():
            assert (await client.get(path, headers={"X-API-Key": key})).status_code == 200


async def test_names_that_are_no_keys_do_not_fill_redis(store_root: Path, tmp_path: Path, redis: RedisServer) -> None:
    locked = {"api_keys": SecretStr("key"), "redis_url": redis.url, "state": tmp_path / "state"}
    async with in_process(store_root, rate_limit="50/minute", **locked) as client:
        with redis.client() as plain:
            before = plain.dbsize()
            for number in range(20):
                await client.get("/console/icon.svg", headers={"Authorization": f"Bearer made up {number}"})
            assert plain.dbsize() == before + 1
