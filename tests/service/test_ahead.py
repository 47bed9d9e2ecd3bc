"""Rankings made ahead are the usual ones to the last byte, and hold no longer than what they were made from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service import ahead as module
from service.made import RANKS, Table
from service.view import View
from tests.support.events import event, sent
from tests.support.service_client import ServiceClient, in_process, promoted
from tests.support.tiny_snapshot import write_tiny_pair_snapshot, write_tiny_popularity_snapshot

pytestmark = pytest.mark.anyio
USER = "user/001"
UNCACHED = {"cache_memory_mb": 0, "router_memory_mb": 0}


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.001)


async def made(client: ServiceClient) -> int:
    """Let the work ahead of questions catch up; how many users' rankings there are."""
    service = client.service
    task = asyncio.create_task(service.ahead.follow(service.view, service.recommender.first_ranks, service.speak))
    before, still = -1, 0
    while still < 20:
        await asyncio.sleep(0.002)
        now = await users_made(client)
        before, still = now, still + 1 if now == before else 0
    task.cancel()
    return before


async def users_made(client: ServiceClient) -> int:
    text = (await client.get("/metrics")).text
    (line,) = [line for line in text.splitlines() if line.startswith("magnet_ahead_users ")]
    return int(float(line.split()[1]))


@asynccontextmanager
async def both(root: Path, tmp_path: Path) -> AsyncIterator[tuple[ServiceClient, ServiceClient]]:
    """One service with everything made ahead, one that makes nothing ahead."""
    async with (
        in_process(root, state=tmp_path / "a", **UNCACHED) as ahead,
        in_process(root, state=tmp_path / "b", ahead_memory_mb=0, **UNCACHED) as usual,
    ):
        await made(ahead)
        yield ahead, usual


@pytest.mark.parametrize(
    "params",
    [{}, {"k": RANKS}, {"k": 7, "offset": 15}, {"k": RANKS, "offset": 10}, {"explain": "full"}, {"explain": "none"},
     {"steer": "visual:2"}, {"diversity": 0.4}, {"exclude_seen": "false"}, {"category": "red"},
     {"exclude": "item/001"}],
)  # fmt: skip
async def test_answers_are_the_usual_ones(store_root: Path, tmp_path: Path, params: dict[str, Any]) -> None:
    async with both(store_root, tmp_path) as (ahead, usual):
        for row in range(20):
            user = ahead.service.view().served.snapshot.user_id(row)  # type: ignore[union-attr]
            texts = [(await client.get(f"/recommend/{user}", params=params)).text for client in (ahead, usual)]
            first, second = (text[text.index('"items"') :] for text in texts)
            assert first == second
        plain = set(params) <= {"k", "offset", "explain"} and params.get("offset", 0) + params.get("k", 20) <= RANKS
        hits = 19 if plain else 0  # the last user has no history
        assert await counted(ahead, "ahead", "hit") == hits


async def test_an_explanation_shows_the_values_of_the_answer(store_root: Path, tmp_path: Path) -> None:
    async with both(store_root, tmp_path) as (ahead, _):
        for item in (await ahead.recommend(USER))["items"]:
            found = await ahead.json("/explain", user=USER, item=item["item"])
            assert (found["score"], found["experts"]) == (item["score"], item["experts"])


async def test_events_edits_and_forgetting_are_seen_at_once(store_root: Path, tmp_path: Path) -> None:
    async with both(store_root, tmp_path) as clients:
        first, second = [item["item"] for item in (await clients[0].recommend(USER))["items"]][:2]
        for client in clients:
            await client.post("/events", json=sent(event(USER, first)))
        answers = [await client.recommend(USER) for client in clients]
        assert answers[0]["items"] == answers[1]["items"]
        assert (answers[0]["events_used"], first in {item["item"] for item in answers[0]["items"]}) == (1, False)
        other = "user/002"
        for client in clients:
            await client.delete("/items/" + second.replace("/", "%2F"))
        answers = [await client.recommend(other) for client in clients]
        assert answers[0]["items"] == answers[1]["items"]
        assert second not in {item["item"] for item in answers[0]["items"]}
        assert await made(clients[0]) == 19  # made again, without the hidden item
        assert (await clients[0].recommend(other))["items"] == answers[1]["items"]
        await clients[0].delete("/users/user%2F002")
        assert (await clients[0].recommend(other))["strategy"] == "popular"


async def test_another_snapshot_begins_anew(tmp_path: Path) -> None:
    first, second = [write_tiny_pair_snapshot(tmp_path, seed=seed) for seed in (0, 1)]
    promoted(tmp_path, first)
    async with both(tmp_path, tmp_path) as clients:
        page = (await clients[0].recommend(USER, k=5))["next"]
        promoted(tmp_path, second)
        for client in clients:
            await client.service.watcher.catch_up()
        for _ in range(2):
            answers = [await client.recommend(USER) for client in clients]
            assert answers[0]["items"] == answers[1]["items"]
            await made(clients[0])
        assert (await clients[0].json(page))["snapshot"] == first


async def test_memory_is_bounded_and_the_longest_histories_come_first(store_root: Path, tmp_path: Path) -> None:
    async with in_process(store_root, state=tmp_path / "a", ahead_memory_mb=0.02) as client:
        view = client.service.view()
        assert view is not None
        capacity = Table(view, int(0.02 * 2**20), 0).capacity
        assert 0 < capacity < 19
        assert await made(client) == capacity
        lengths = np.diff(view.served.snapshot.array("history_indptr"))
        find = client.service.ahead.find
        users = map(view.served.snapshot.user_id, range(20))
        kept = [row for row, user in enumerate(users) if find(view, user, slice(0, 20)) is not None]
        assert min(lengths[kept]) >= max(np.delete(lengths, kept))


async def test_kinds_without_experts(tmp_path: Path) -> None:
    promoted(tmp_path, write_tiny_popularity_snapshot(tmp_path))
    async with both(tmp_path, tmp_path) as (ahead, usual):
        for row in range(3):
            user = f"user/00{row}" if row % 3 else f"usér-00{row}"
            assert (await ahead.recommend(user))["items"] == (await usual.recommend(user))["items"]


async def test_numbers_that_do_not_fit_are_left_to_the_usual_way(store_root: Path, tmp_path: Path) -> None:
    async with in_process(store_root, state=tmp_path / "a") as client:
        view = client.service.view()
        assert isinstance(view, View)
        table, made = Table(view, 2**20, 0), client.service.recommender.first_ranks(view, USER)
        assert made is not None
        for name in ("numbers", "modality_amounts"):
            huge = replace(made.page, **{name: getattr(made.page, name) * 1e6})
            table.put(USER, replace(made, page=huge))
            assert (table.count, table.get(USER, slice(0, 20))) == (0, None)
        table.put(USER, made)
        found = table.get(USER, slice(3, 9))
        assert found is not None
        first, stop = made.page.counts[:3].sum(), made.page.counts[:9].sum()
        np.testing.assert_array_equal(found.page.numbers, made.page.numbers[first:stop])
        for name in ("rows", "chosen", "modality_amounts"):
            np.testing.assert_array_equal(getattr(found.page, name), getattr(made.page, name)[3:9])
        assert found.available == made.available


async def test_nothing_is_left_of_who_was_forgotten(store_root: Path, tmp_path: Path) -> None:
    async with in_process(store_root, state=tmp_path / "a", **UNCACHED) as client:
        assert await made(client) == 19
        view, ahead = client.service.view(), client.service.ahead
        assert view is not None
        found = client.service.recommender.first_ranks(view, USER)
        assert found is not None
        assert ahead.find(view, USER, slice(0, 20)) is not None
        table = ahead._table
        assert table is not None
        place = table._places[USER]
        assert place is not None
        assert table._records[place].tobytes().strip(b"\0")
        assert table._words.get(place)
        await client.delete("/users/user%2F001")
        table.put(USER, found)  # as by work that was under way
        assert ahead.find(view, USER, slice(0, 20)) is None
        assert not table._records[place].tobytes().strip(b"\0")
        assert table._words.get(place) is None
        await client.delete("/items/item%2F004")  # another view: everybody's ranking is made again
        assert await made(client) == 18


@pytest.mark.parametrize("swapped", [False, True])
async def test_an_answer_is_explained_by_its_id_by_every_worker(tmp_path: Path, swapped: bool) -> None:
    """The very values, after the table they came from has gone, too."""
    first, second = [write_tiny_pair_snapshot(tmp_path, seed=seed) for seed in (0, 1)]
    promoted(tmp_path, first)
    settings: dict[str, Any] = {"state": tmp_path / "state", "workers": 2}
    async with in_process(tmp_path, **settings) as here, in_process(tmp_path, **settings) as there:
        await made(here)
        answers = [await here.recommend(USER, explain=explain) for explain in ("full", "experts", "none")]
        assert (await counted(here, "ahead", "hit"), await counted(there, "ahead", "hit")) == (3, 0)
        if swapped:
            promoted(tmp_path, second)
            for client in (here, there):
                await client.service.watcher.catch_up()
        for answer in answers:
            for item, full in zip(answer["items"], answers[0]["items"], strict=True):
                named = {"recommendation_id": answer["recommendation_id"], "item": item["item"]}
                for client in (here, there):
                    found = await client.json("/explain", **named)
                    for name in ("score", "title", "image", "experts", "modality_amounts", "because"):
                        assert found[name] == full[name]
                    assert found["snapshot"] == first
                await there.json("/explain", 404, **named | {"item": "item/not in it"})


async def test_a_link_to_the_next_page_holds_while_items_change(store_root: Path, tmp_path: Path) -> None:
    async with both(store_root, tmp_path) as clients:
        links = [(await client.recommend(USER, k=10))["next"] for client in clients]
        assert links[0] == links[1]
        before = [(await client.get(links[0])).json()["items"] for client in clients]
        assert before[0] == before[1]
        gone = before[0][3]["item"]
        for client in clients:
            await client.delete("/items/" + gone.replace("/", "%2F"))
        await made(clients[0])
        after = [(await client.get(links[0])).json()["items"] for client in clients]
        assert after[0] == after[1] == [item for item in before[0] if item["item"] != gone]


async def counted(client: ServiceClient, cache: str, outcome: str) -> int:
    name = f'magnet_cache_total{{cache="{cache}",outcome="{outcome}"}}'
    (found,) = [line for line in (await client.get("/metrics")).text.splitlines() if line.startswith(name)]
    return int(float(found.split()[-1]))
