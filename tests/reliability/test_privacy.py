"""A user can be forgotten: at once, for every snapshot, with the state away, for good once old snapshots are gone."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest

from model_store.events import read_events
from model_store.snapshot import Snapshot
from model_store.store import Store
from service.event_export import export_to
from service.settings import Settings
from service.state.tombstones import Tombstones
from tests.reliability.conftest import TwoSnapshots
from tests.support.events import event, sent
from tests.support.redis_server import RedisServer
from tests.support.service_client import in_process, promoted
from tests.support.tiny_dataset import tiny_dataset
from training.data.events import with_events

pytestmark = pytest.mark.anyio
USER, PATH = "user/001", "/users/user%2F001"
ADMIN = {"X-API-Key": "admin"}


async def test_at_once_and_after_swaps_and_rollbacks(store: TwoSnapshots, tmp_path: Path) -> None:
    state = tmp_path / "state"
    async with in_process(store.root, state=state, admin_key="admin") as client:
        await client.post("/events", json=sent(event(USER, "item/004")))
        kept = await client.recommend(USER)
        assert kept["strategy"] == "personalised"
        assert (await client.delete(PATH)).status_code == 200
        named = {"recommendation_id": kept["recommendation_id"], "item": kept["items"][0]["item"]}
        for change in (None, "activate", "rollback"):
            if change is not None:
                body = {"snapshot": store.second} if change == "activate" else None
                assert (await client.post(f"/admin/{change}", json=body, headers=ADMIN)).status_code == 200
            assert (await client.recommend(USER))["strategy"] == "popular"
            await client.json(PATH, 404)
            await client.json("/explain", 404, user=USER, item="item/001")
            await client.json("/explain/user%2F001", 404)
            await client.json("/explain", 410, **named)
    async with in_process(store.root, state=state) as again:  # a restart changes nothing
        assert (await again.recommend(USER))["strategy"] == "popular"
        await again.json(PATH, 404)


async def test_nothing_of_the_events_is_left_on_disk(store: TwoSnapshots, tmp_path: Path) -> None:
    state = tmp_path / "state"
    mark = "an-event-id-that-is-nowhere-else"
    async with in_process(store.root, state=state, workers=2) as client:
        await client.post("/events", json=sent(event("somebody", "item/004", event_id=mark)))
        await client.recommend("somebody")
        await client.delete("/users/somebody")
    with sqlite3.connect(state / "state.sqlite3") as connection:
        assert connection.execute("SELECT COUNT(*) FROM events").fetchall() == [(0,)]
    connection.close()
    left = {file.name for file in state.iterdir() if file.is_file() and mark.encode() in file.read_bytes()}
    assert left == set()


async def test_while_the_state_cannot_be_asked(store: TwoSnapshots, tmp_path: Path) -> None:
    """A worker that lost its Redis knows the snapshot's history of everybody, and who must not be recognised by it."""
    redis = RedisServer(tmp_path / "redis")
    redis.start()
    async with in_process(store.root, redis_url=redis.url) as first:
        await first.delete(PATH)
        async with in_process(store.root, redis_url=redis.url) as second:
            redis.stop()
            for worker in (first, second):
                await worker.service.catch_up()
                answer = await worker.recommend(USER)
                assert (answer["strategy"], answer["degraded"]) == ("popular", ["events"])
                assert (await worker.recommend("user/002"))["strategy"] == "personalised"
                assert (await worker.get(PATH)).status_code == 404


async def test_when_redis_lost_its_disk(store: TwoSnapshots, tmp_path: Path) -> None:
    """Whoever was forgotten stays so: in the worker that notices, in one that starts then, in one before Redis is back.

    What such a user did since counts, as it did before.
    """
    redis = RedisServer(tmp_path / "redis")
    redis.start()
    async with in_process(store.root, redis_url=redis.url) as first:
        for user_id in (USER, "user/003"):
            await first.delete(f"/users/{quote(user_id, safe='')}")
        await first.post("/events", json=sent(event("user/003", "item/004")))
        redis.lose_everything()
        for _ in range(2):  # the connection is stale
            await first.service.catch_up()
        assert any("without its memory" in text for text in first.service.degraded())
        await first.post("/events", json=sent(event("user/003", "item/005")))
        async with in_process(store.root, redis_url=redis.url) as second:
            redis.stop()
            async with in_process(store.root, redis_url=redis.url) as third:
                assert (await third.recommend(USER))["strategy"] == "popular"
                await third.json(PATH, 404)
            redis.start()
            for worker in (first, second):
                for _ in range(2):
                    await worker.service.catch_up()
                assert (await worker.recommend(USER))["strategy"] == "popular"
                await worker.json(PATH, 404)
                again = await worker.json("/users/user%2F003")
                assert [entry["item"] for entry in again["history"]] == ["item/005"]
    redis.stop()
    kept = store.root / "state" / "forgotten.jsonl"
    with kept.open("ab") as file:
        file.write(b'{"forgo')  # a crash in the middle of a line
    assert await Tombstones(kept).read() == [USER, "user/003"]
    assert [json.loads(line) for line in kept.read_bytes().splitlines()[:2]] == [
        {"forgotten": USER},
        {"forgotten": "user/003"},
    ]


async def test_the_next_training_and_the_pruning_of_old_snapshots_end_it(store: TwoSnapshots, tmp_path: Path) -> None:
    """The vectors leave with the next snapshot that is made from the events, and old ones with `magnet-store prune`."""
    settings = Settings(store=store.root, state=tmp_path / "state")
    async with in_process(store.root, state=settings.state) as client:
        await client.delete("/users/u1")
    exported = tmp_path / "events.jsonl"
    await asyncio.to_thread(export_to, settings, exported)
    assert [json.loads(line) for line in exported.read_text().splitlines()] == [{"forgotten": "u1"}]
    assert len(list(read_events(exported))) == 1
    dataset = tiny_dataset(("visual", "textual"), n_users=12, n_items=10, seed=2)
    known = dataset.user_ids[1]
    exported.write_text(json.dumps({"forgotten": known}) + "\n")
    trained = with_events(dataset, [exported])
    assert known not in trained.user_ids
    assert len(np.unique(trained.interactions.user_row)) <= trained.n_users == dataset.n_users - 1

    promoted(store.root, store.second)
    removed = Store(store.root).prune(keep=0)
    assert removed == [store.first]
    left = [path.name for path in (store.root / "snapshots").iterdir()]
    assert left == [store.second]
    assert Snapshot.open(store.root / "snapshots" / store.second).n_users
