"""Rates hold over all workers that share a Redis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr
from starlette.responses import PlainTextResponse

from service.limiting import Limiting
from service.settings import Settings
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.anyio


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


async def test_workers_count_together_each_key_for_itself(redis: RedisServer) -> None:
    settings = Settings(redis_url=SecretStr(redis.url))
    workers = [Limiting(PlainTextResponse("there"), "5/minute", settings) for _ in range(2)]
    clients = [
        httpx.AsyncClient(transport=httpx.ASGITransport(worker), base_url="http://service", headers={"X-API-Key": "a"})
        for worker in workers
    ]
    statuses = [(await client.get("/x")).status_code for _ in range(3) for client in clients]
    assert statuses == [200] * 5 + [429]
    for client in clients:
        refused = await client.get("/x")
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert (await client.get("/x", headers={"X-API-Key": "b"})).status_code == 200
        assert (await client.get("/readyz")).status_code == 200
    with redis.client() as plain:
        names = plain.keys("*")
    assert isinstance(names, list)
    assert not [name for name in names if b"/a/" in name]  # names do not tell the key
    for client, worker in zip(clients, workers, strict=True):
        await client.aclose()
        await worker.close()
