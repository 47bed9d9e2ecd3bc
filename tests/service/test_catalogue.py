"""The live catalogue follows the state, whatever becomes of the store, and keeps what is served."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.redis_server import RedisServer
from tests.support.service_client import in_process
from tests.support.tiny_snapshot import FEATURE_WIDTH

pytestmark = pytest.mark.anyio
USER = "user/001"
FEATURES = {"features": {"visual": [1.0] * FEATURE_WIDTH, "textual": [-1.0] * FEATURE_WIDTH}}


def path_of(item_id: str) -> str:
    return "/items/" + item_id.replace("/", "%2F")


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "redis")
    server.start()
    yield server
    server.stop()


async def test_edits_are_followed_though_the_store_counts_from_the_beginning_again(
    redis: RedisServer, store_root: Path
) -> None:
    async with in_process(store_root, redis_url=redis.url) as client:
        for number in range(6):
            await client.put(f"/items/lost-{number}", json=FEATURES)
        redis.lose_everything()
        for _ in range(2):  # the connection is stale
            await client.service.catch_up()
        await client.json("/items/lost-0", 404)
        top = (await client.recommend(USER))["items"][0]["item"]
        assert (await client.delete(path_of(top))).status_code == 200
        assert top not in [item["item"] for item in (await client.recommend(USER))["items"]]
        await client.json(path_of(top), 404)
        assert (await client.put("/items/fresh", json=FEATURES)).json()["recommendable"]
        await client.json("/items/fresh")
