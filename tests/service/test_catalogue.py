"""The live catalogue follows the state, whatever becomes of the store, and keeps what is served."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.served import ServedSnapshot
from service.service import Service
from tests.support.redis_server import RedisServer
from tests.support.service_client import ServiceClient, in_process, promoted
from tests.support.tiny_snapshot import FEATURE_WIDTH, write_tiny_pair_snapshot

pytestmark = pytest.mark.anyio
USER = "user/001"
FEATURES = {"features": {"visual": [1.0] * FEATURE_WIDTH, "textual": [-1.0] * FEATURE_WIDTH}}


def path_of(item_id: str) -> str:
    return "/items/" + item_id.replace("/", "%2F")


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


async def test_what_another_worker_hid_stays_hidden_though_this_one_edits_before_it_hears_of_it(
    redis: RedisServer, store_root: Path
) -> None:
    url = redis.url
    async with in_process(store_root, redis_url=url) as here, in_process(store_root, redis_url=url) as there:
        top = (await here.recommend(USER))["items"][0]["item"]
        assert (await there.delete(path_of(top))).status_code == 200
        assert (await here.put("/items/own", json=FEATURES)).status_code == 200  # its change is the newer one
        await here.service.catch_up()
        await here.json(path_of(top), 404)
        assert top not in [item["item"] for item in (await here.recommend(USER))["items"]]


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A store with four snapshots."""
    root = tmp_path_factory.mktemp("four")
    return root, [write_tiny_pair_snapshot(root, seed=seed) for seed in range(4)]


@pytest.fixture
async def edited(four: tuple[Path, list[str]], tmp_path: Path) -> AsyncIterator[ServiceClient]:
    """The second snapshot serves, after the first; one item is hidden, one is new."""
    root, ids = four
    promoted(root, ids[0])
    async with in_process(root, state=tmp_path / "state") as client:
        await client.service.watcher.activate(ids[1])
        await client.put("/items/fresh", json=FEATURES)
        await client.delete("/items/item%2F004")
        yield client


def loaded(service: Service, snapshot_id: str) -> ServedSnapshot:
    return service.deployment.load(snapshot_id, "size")


async def shows_the_edits(client: ServiceClient) -> bool:
    """Whether all that is in memory shows them, and could take in a new item."""
    service = client.service
    views = [service.catalogue.view(served) for served in in_use(service)]
    there = all(view.item_row("fresh") is not None and len(view.left_out()) > 0 for view in views)
    able = all(service.catalogue.encoder(served) is not None for served in in_use(service))
    answers = [(await client.get(path)).status_code for path in ("/items/fresh", "/items/item%2F004")]
    return there and able and answers == [200, 404]


def in_use(service: Service) -> list[ServedSnapshot]:
    return [served for served in (service.deployment.active, service.deployment.previous) if served is not None]


async def test_what_is_only_made_ready_takes_nothing_from_what_serves(
    edited: ServiceClient, four: tuple[Path, list[str]]
) -> None:
    for snapshot_id in four[1][2:]:  # neither comes to serve, as where the store's pointer cannot be moved
        await edited.service.catalogue.prepare(loaded(edited.service, snapshot_id))
        assert await shows_the_edits(edited)


async def test_an_edit_while_a_snapshot_is_made_ready_takes_nothing_from_what_serves(
    edited: ServiceClient, four: tuple[Path, list[str]]
) -> None:
    service = edited.service
    third, fourth = [loaded(service, snapshot_id) for snapshot_id in four[1][2:]]
    await service.mirror.hide_item("item/005")
    await asyncio.gather(service.catalogue.prepare(third), service.catalogue.refresh())
    assert await shows_the_edits(edited)
    service.watcher._serve(third)
    assert await shows_the_edits(edited)
    await service.catalogue.prepare(fourth)
    assert await shows_the_edits(edited)


async def test_an_edit_brings_nothing_back_that_was_let_go_of_meanwhile(
    edited: ServiceClient, four: tuple[Path, list[str]]
) -> None:
    service = edited.service
    assert service.deployment.previous is not None
    first = weakref.ref(service.deployment.previous)
    await service.catalogue.prepare(loaded(service, four[1][2]))
    await service.mirror.hide_item("item/005")
    refreshing = asyncio.create_task(service.catalogue.refresh())
    await asyncio.sleep(0)
    third = service.catalogue._views[four[1][2]].served
    service.watcher._serve(third)
    await refreshing
    assert first() is None
    assert await shows_the_edits(edited)
    for _ in range(2):  # and nothing is left to do
        before = [service.catalogue.view(served) for served in in_use(service)]
        await service.catch_up()
        assert all(service.catalogue.view(view.served) is view for view in before)


async def test_every_edit_is_in_the_view_once_it_was_acknowledged(edited: ServiceClient) -> None:
    """Refreshing waits for its turn; what came while it waited is taken in, too."""

    async def put(number: int) -> None:
        assert (await edited.put(f"/items/at-once-{number}", json=FEATURES)).json()["recommendable"]
        await edited.json(f"/items/at-once-{number}")

    await asyncio.gather(*(put(number) for number in range(8)))
