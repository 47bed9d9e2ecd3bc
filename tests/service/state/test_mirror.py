"""What a worker remembers of the state is never older than the store's changes that it was told of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.errors import StateUnavailable
from service.state.embedded import EmbeddedState
from service.state.heard import Heard
from service.state.mirror import Mirror
from service.state.protocol import NO_EVENTS, StateStore
from service.state.redis import RedisState
from tests.support.events import event
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["embedded", "redis"])
async def mirrors(request: pytest.FixtureRequest, tmp_path: Path, redis: RedisServer) -> AsyncIterator[list[Mirror]]:
    """Two workers over one state, which knows of one user."""

    def store() -> StateStore:
        return EmbeddedState(tmp_path, shared=True) if request.param == "embedded" else RedisState(redis.url)

    found = [Mirror(store()) for _ in range(2)]
    for mirror in found:
        await mirror.catch_up()
    await found[0].append([event("known", "i")])
    await found[1].catch_up()
    yield found
    for mirror in found:
        await mirror.stop()


async def listed(mirror: Mirror) -> None:
    task = asyncio.create_task(mirror.list_users())
    while mirror.peek("nobody") is None:
        await asyncio.sleep(0.001)
    task.cancel()


async def test_the_store_is_not_asked_about_whom_it_does_not_know(mirrors: list[Mirror]) -> None:
    _, there = mirrors
    assert there.peek("nobody") is None
    await listed(there)
    assert there.peek("nobody") is NO_EVENTS
    assert there.peek("known") is None
    assert len((await there.events_of("known")).events) == 1


async def test_what_others_did_since_is_seen_once_it_is_told(mirrors: list[Mirror]) -> None:
    here, there = mirrors
    for mirror in mirrors:
        await listed(mirror)
    assert (await there.events_of("newcomer"), await there.events_of("forgotten")) == (NO_EVENTS, NO_EVENTS)
    await here.append([event("newcomer", "i")])
    await here.forget("forgotten")
    assert len((await here.events_of("newcomer")).events) == 1  # its own at once
    assert (await here.events_of("forgotten")).forgotten_at
    await there.catch_up()
    assert len((await there.events_of("newcomer")).events) == 1
    assert (await there.events_of("forgotten")).forgotten_at


async def test_while_the_store_is_away_nobody_is_taken_for_unknown(redis: RedisServer) -> None:
    mirror = Mirror(RedisState(redis.url))
    await mirror.catch_up()
    await listed(mirror)
    redis.stop()
    await mirror.catch_up()
    assert mirror.peek("nobody") is None
    with pytest.raises(StateUnavailable):
        await mirror.events_of("nobody")
    redis.start()
    await mirror.catch_up()
    assert mirror.peek("nobody") is NO_EVENTS
    await mirror.stop()


async def test_a_store_that_lost_its_memory_is_listed_anew(redis: RedisServer) -> None:
    mirror, other = [Mirror(RedisState(redis.url)) for _ in range(2)]
    await mirror.catch_up()
    await listed(mirror)
    with redis.client() as plain:
        plain.flushall()
    await other.catch_up()
    await other.append([event("newcomer", "i")])
    await mirror.catch_up()
    assert mirror.peek("newcomer") is None
    await listed(mirror)
    assert mirror.peek("newcomer") is None
    assert len((await mirror.events_of("newcomer")).events) == 1
    await mirror.stop()
    await other.stop()


def test_no_name_is_missed() -> None:
    heard = Heard()
    names = [f"user {number}" for number in range(50_000)]
    heard.update(names)
    assert all(name in heard for name in names)
    assert sum(f"somebody {number}" in heard for number in range(10_000)) < 200
