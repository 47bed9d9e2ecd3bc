"""The state in Redis holds the contract, against a real server, and survives what happens to servers."""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from service.errors import StateUnavailable
from service.state.mirror import Mirror
from service.state.protocol import StateStore
from service.state.redis import RedisState
from service.state.tombstones import Tombstones
from tests.contract.state_store import StateStoreContract
from tests.support.events import event, sent
from tests.support.redis_server import RedisServer
from tests.support.service_client import in_process

pytestmark = pytest.mark.anyio
USER = "user/001"
_prefixes = itertools.count()


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server of the test's own, to be treated badly."""
    server = RedisServer(tmp_path / "redis")
    server.start()
    yield server
    server.stop()


class TestRedis(StateStoreContract):
    @pytest.fixture(autouse=True)
    def _server(self, shared_server: RedisServer) -> None:
        self.server = shared_server
        self.prefix = f"test{next(_prefixes)}:"

    def open_store(self) -> StateStore:
        return RedisState(self.server.url, self.prefix)


async def test_acknowledged_events_survive_a_killed_server(server: RedisServer) -> None:
    store = RedisState(server.url)
    await store.start()
    await store.append([event("u", f"item-{number}") for number in range(50)])
    server.stop(signal.SIGKILL)
    with pytest.raises(StateUnavailable, match="redis"):
        await store.append([event("u", "lost")])
    server.start()
    assert [kept.event.item for kept in (await store.events_of("u")).events] == [f"item-{n}" for n in range(50)]
    await store.stop()


async def test_a_server_that_lost_its_memory_is_noticed(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    mirror = Mirror(RedisState(server.url))
    await mirror.catch_up()
    await mirror.append([event("u", "i")])
    await mirror.hide_item("hidden")
    assert (await mirror.events_of("u")).events
    server.lose_everything()
    await mirror.catch_up()  # the connection is stale
    await mirror.catch_up()
    assert mirror.failure is None
    assert "lost its memory" in caplog.text
    assert not (await mirror.events_of("u")).events
    assert mirror.items == {}
    await mirror.stop()


async def test_answers_from_before_a_loss_do_not_come_back_with_the_versions(
    server: RedisServer, store_root: Path
) -> None:
    """A server that lost its memory counts from the beginning: the same numbers stand for other events."""
    async with in_process(store_root, redis_url=server.url) as client:
        await client.post("/events", json=sent(event("newcomer", "item/004")))
        for _ in range(2):
            lost = await client.recommend("newcomer")
        server.lose_everything()
        for _ in range(2):  # the connection is stale
            await client.service.catch_up()
        await client.post("/events", json=sent(event("newcomer", "item/040")))
        for _ in range(2):
            found = await client.recommend("newcomer")
            assert found["events_used"] == lost["events_used"] == 1
            assert found["recommendation_id"] != lost["recommendation_id"]
            assert found["items"] != lost["items"]


@pytest.mark.parametrize("new", [0, 1, 3, 5])
async def test_a_server_that_lost_its_newest_changes_is_noticed(
    server: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, new: int
) -> None:
    """A backup restored: here three changes are lost; those made since may be more."""
    tombstones = Tombstones(tmp_path / "forgotten.jsonl")
    writer, reader = Mirror(RedisState(server.url, tombstones=tombstones)), Mirror(RedisState(server.url))
    await writer.catch_up()
    await writer.append([event("u", "kept")])
    backup = server.back_up()
    await writer.append([event("u", "lost")])
    await writer.hide_item("lost")
    await writer.forget("forgotten")
    for mirror in (writer, reader):
        await mirror.catch_up()
        assert len((await mirror.events_of("u")).events) == 2
    server.restore(backup)
    with pytest.raises(StateUnavailable):  # the connection is stale
        await writer.append([event("u", "refused")])
    if new:
        await writer.append([event(f"newcomer {number}", "i") for number in range(new)])
    for mirror in (reader, reader, writer, reader):
        await mirror.catch_up()
    assert caplog.text.count("lost its memory") == 2
    for mirror in (writer, reader):
        assert mirror.failure is None
        assert [kept.event.item for kept in (await mirror.events_of("u")).events] == ["kept"]
        assert mirror.items == {}
        assert mirror.is_forgotten("forgotten")
        for number in range(new):
            assert (await mirror.events_of(f"newcomer {number}")).events
        assert any("newest changes" in warning for warning in mirror.store.warnings)
        await mirror.stop()


async def test_an_item_put_again_under_the_version_that_was_lost_is_noticed(server: RedisServer) -> None:
    writer, reader = RedisState(server.url), Mirror(RedisState(server.url))
    await writer.start()
    backup = server.back_up()
    lost = await writer.put_item("i", b"lost")
    await reader.catch_up()
    server.restore(backup)
    with pytest.raises(StateUnavailable):
        await writer.put_item("i", b"refused")
    assert (await writer.put_item("i", b"new")).version == lost.version
    for _ in range(2):
        await reader.catch_up()
    assert reader.items["i"].content == b"new"
    await reader.stop()
    await writer.stop()


async def test_the_newest_event_may_be_forgotten_without_a_loss(server: RedisServer) -> None:
    writer, reader = RedisState(server.url), RedisState(server.url)
    for store in (writer, reader):
        await store.start()
    await writer.append([event("u", "i")])
    version = (await reader.changes(1)).version
    await writer.forget("u")
    changes = await reader.changes(version)
    assert not changes.everything
    assert changes.forgotten == {"u"}
    assert not reader.warnings
    for store in (writer, reader):
        await store.stop()


async def test_a_full_server_refuses_instead_of_forgetting(server: RedisServer) -> None:
    store = RedisState(server.url)
    await store.start()
    first = event("u", "i")
    await store.append([first])
    with server.client() as client:
        client.config_set("maxmemory", 1)
        with pytest.raises(StateUnavailable, match="OutOfMemory"):
            await store.append([event("u", "j")])
        assert [kept.event for kept in (await store.events_of("u")).events] == [first]
        client.config_set("maxmemory", 0)
    assert await store.append([event("u", "k")]) == 1
    await store.stop()


async def test_doubtful_configurations_are_named(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, "--appendonly", "no", "--maxmemory-policy", "allkeys-lru")
    server.start()
    store = RedisState(server.url)
    await store.start()
    assert ["appendonly" in store.warnings[0], "maxmemory-policy" in store.warnings[1]] == [True, True]
    await store.stop()
    server.stop()


async def test_answers_go_on_while_the_server_is_paused(server: RedisServer, store_root: Path) -> None:
    async with in_process(store_root, redis_url=server.url) as client:
        await client.post("/events", json=sent(event(USER, "item/001")))
        assert (await client.recommend(USER))["events_used"] == 1
        server.pause()
        await client.service.catch_up()
        mirrored, other = [await client.recommend(user) for user in (USER, "user/002")]
        assert (mirrored["events_used"], mirrored["degraded"]) == (1, ["events"])
        assert (other["strategy"], other["degraded"]) == ("personalised", ["events"])
        reply = await client.post("/events", json=sent(event(USER, "item/002")))
        assert (reply.status_code, reply.json()["type"]) == (503, "urn:problem-type:magnet:state-unavailable")
        assert (await client.json("/readyz"))["status"] == "degraded"
        server.resume()
        await client.service.catch_up()
        assert (await client.recommend("user/002"))["degraded"] == []


async def test_counting_never_holds_the_loop_for_a_whole_day(server: RedisServer) -> None:
    """20,000 items of a day in one reply kept every other request waiting for a fifth of a second."""
    store = RedisState(server.url)
    await store.start()
    with Redis.from_url(server.url) as redis:
        redis.hset("magnet:day:0", mapping={f"item-{number}": 1 for number in range(20_000)})
    counting = asyncio.ensure_future(store.daily_counts(0, 0))
    turns = 0
    while not counting.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert len(await counting) == 20_000
    assert turns > 20, "one for each block at least"
    await store.stop()
