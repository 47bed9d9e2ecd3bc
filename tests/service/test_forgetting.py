"""Forgetting a user reaches every worker and every cache, and stays in force: two workers over one state."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.events import event, sent
from tests.support.redis_server import RedisServer
from tests.support.service_client import ServiceClient, in_process

pytestmark = pytest.mark.anyio
USER = "user/001"
OTHER = "user/002"


@pytest.fixture(params=["embedded", "redis"])
async def workers(
    request: pytest.FixtureRequest, store_root: Path, tmp_path: Path
) -> AsyncIterator[tuple[ServiceClient, ServiceClient]]:
    redis = RedisServer(tmp_path / "redis")
    settings: dict[str, Any] = {"state": tmp_path / "state", "workers": 2}
    if request.param == "redis":
        redis.start()
        settings["redis_url"] = redis.url
    try:
        async with in_process(store_root, **settings) as first, in_process(store_root, **settings) as second:
            yield first, second
    finally:
        redis.stop()


async def test_caches_of_every_worker_are_cleared(workers: tuple[ServiceClient, ServiceClient]) -> None:
    here, there = workers
    await here.post("/events", json=sent(event(USER, "item/004"), event(OTHER, "item/004")))
    await there.service.catch_up()
    answers = {user: await there.recommend(user, k=3) for user in (USER, OTHER)}
    for user in answers:  # once more, so that it comes prepared
        answers[user] = await there.recommend(user, k=3)
    for answer in answers.values():  # written by one worker, found by the other
        await here.json("/explain", recommendation_id=answer["recommendation_id"], item=answer["items"][0]["item"])
    before = len(there.service.recommender.routed)

    assert (await here.delete("/users/user%2F001")).status_code == 200
    await there.service.catch_up()

    assert len(there.service.recommender.routed) < before
    for worker in workers:
        kept = worker.service.recommender.answers.own._kept.values()
        assert USER not in {user_id for _, _, (user_id, _) in kept}
        assert not [key for key in worker.service.prepared._shelf._kept if isinstance(key, tuple) and key[0] == USER]
        for user, status in ((USER, 410), (OTHER, 200)):
            named = {"recommendation_id": answers[user]["recommendation_id"], "item": answers[user]["items"][0]["item"]}
            await worker.json("/explain", status, **named)
        assert (await worker.recommend(USER))["strategy"] == "popular"
    stored = await there.service.mirror.store.kept_answer(answers[USER]["recommendation_id"])
    assert stored is None
    assert await there.service.mirror.store.kept_answer(answers[OTHER]["recommendation_id"]) is not None


async def test_an_answer_kept_meanwhile_cannot_be_read(workers: tuple[ServiceClient, ServiceClient]) -> None:
    here, there = workers
    await here.post("/events", json=sent(event(USER, "item/004")))
    await there.service.catch_up()
    answer = await there.recommend(USER, k=3)
    kept = await there.service.recommender.answers.find(answer["recommendation_id"])
    assert kept is not None
    await here.delete("/users/user%2F001")
    await there.service.catch_up()
    there.service.recommender.answers.keep(answer["recommendation_id"], kept)  # as by a request that was under way
    for worker in workers:
        await worker.json(
            "/explain", 410, recommendation_id=answer["recommendation_id"], item=answer["items"][0]["item"]
        )


async def test_searches_leave_them_out_and_go_on(workers: tuple[ServiceClient, ServiceClient]) -> None:
    here, there = workers
    everybody = (await here.json("/users", limit=100))["users"]
    gone = everybody[:7] + everybody[-1:]
    for user_id in gone:
        await here.delete(f"/users/{quote(user_id, safe='')}")
    await there.service.catch_up()
    await here.post("/events", json=sent(event(USER, "item/004")))  # known again, not to the snapshot
    left = [user_id for user_id in everybody if user_id not in gone]
    for worker in workers:
        for limit in (1, 3, len(left), 100):
            assert (await worker.json("/users", limit=limit))["users"] == left[:limit]
        assert (await worker.json("/users", query=USER))["users"] == []
        assert (await worker.json("/users", query=left[0]))["users"] == left[:1]
