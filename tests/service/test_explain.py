"""Explanations return the very values of the answer, or equal ones recomputed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest

from model_store.store import Store
from service.deployment import Deployment
from service.recall import Recall
from service.served import ServedSnapshot
from tests.support.redis_server import RedisServer
from tests.support.service_client import ServiceClient, in_process, promoted
from tests.support.tiny_snapshot import write_tiny_pair_snapshot

pytestmark = pytest.mark.anyio
USER = "user/001"


@pytest.mark.parametrize("params", [{}, {"steer": "visual:3"}, {"diversity": 0.5}])
async def test_recommendation_id_gives_the_very_values(client: ServiceClient, params: dict[str, object]) -> None:
    answer = await client.recommend(USER, k=30, explain="full", **params)
    for item in answer["items"]:
        found = await client.json("/explain", recommendation_id=answer["recommendation_id"], item=item["item"])
        for field in ("score", "experts", "modality_amounts", "because", "title", "image"):
            assert found[field] == item[field]
        assert (found["user"], found["snapshot"]) == (USER, answer["snapshot"])
        assert found["faithfulness"] == {"spearman": 0.9}


async def test_recomputed_pairs_agree(client: ServiceClient) -> None:
    answer = await client.recommend(USER, k=30)
    for item in answer["items"]:
        found = await client.json("/explain", user=USER, item=item["item"])
        assert found["score"] == pytest.approx(item["score"], abs=1e-4)
        assert [term["name"] for term in found["experts"]] == [term["name"] for term in item["experts"]]


async def test_popular_answers_can_be_explained(client: ServiceClient) -> None:
    answer = await client.recommend("nobody", k=3)
    item = answer["items"][2]
    found = await client.json("/explain", recommendation_id=answer["recommendation_id"], item=item["item"])
    assert (found["experts"], found["score"], found["because"]) == (item["experts"], item["score"], [])


async def test_expired_answers_are_gone(store_root: Path) -> None:
    async with in_process(store_root, answer_ttl_seconds=1e-9) as client:
        answer = await client.recommend(USER, k=1)
        params = {"recommendation_id": answer["recommendation_id"], "item": answer["items"][0]["item"]}
        problem = await client.json("/explain", 410, **params)
    assert problem["type"] == "urn:problem-type:magnet:expired"


async def test_memory_of_answers_is_bounded(store_root: Path) -> None:
    async with in_process(store_root, answer_memory_mb=0.05) as client:
        ids = [(await client.recommend(USER, k=20, offset=n))["recommendation_id"] for n in range(40)]
        shelf = client.service.recommender.answers.own
        assert shelf.bytes <= 0.05 * 2**20
        assert shelf.get(ids[0]) is None
        assert shelf.get(ids[-1]) is not None


@pytest.mark.parametrize(
    ("path", "params", "slug"),
    [
        ("/explain", {"user": "nobody", "item": "item/001"}, "unknown-user"),
        ("/explain", {"user": USER, "item": "nothing"}, "unknown-item"),
        ("/explain/nobody", {}, "unknown-user"),
        ("/items/nothing", {}, "unknown-item"),
        ("/users/nobody", {}, "unknown-user"),
        ("/media/0", {}, "unknown-picture"),
    ],
)
async def test_unknown_things_are_404(client: ServiceClient, path: str, params: dict[str, str], slug: str) -> None:
    problem = await client.json(path, 404, **params)
    assert problem["type"] == f"urn:problem-type:magnet:{slug}"


async def test_profile_shares_add_up(client: ServiceClient) -> None:
    profile = await client.json("/explain/user%2F001")
    assert sum(entry["share"] for entry in profile["experts"]) == pytest.approx(1, abs=1e-4)
    assert sum(profile["modality_shares"].values()) == pytest.approx(1, abs=1e-4)
    routed = [entry["mean_weight"] for entry in profile["experts"] if entry["mean_weight"] is not None]
    assert sum(routed) == pytest.approx(1, abs=1e-4)


async def test_a_profile_is_of_what_can_be_shown(store_root: Path, tmp_path: Path) -> None:
    async with in_process(store_root, state=tmp_path / "state") as client:
        shown = [item["item"] for item in (await client.recommend(USER, k=500))["items"]]
        for item in shown[3:]:
            await client.delete("/items/" + item.replace("/", "%2F"))
        assert [item["item"] for item in (await client.recommend(USER, k=500))["items"]] == shown[:3]
        assert (await client.json("/explain/user%2F001"))["items_considered"] == 3


async def test_explanation_survives_one_swap(tmp_path: Path) -> None:
    root = tmp_path
    first, second = [write_tiny_pair_snapshot(root, seed=seed) for seed in (0, 1)]
    promoted(root, first)
    async with in_process(root) as client:
        answer = await client.recommend(USER, k=5)
        promoted(root, second)
        await client.service.watcher.catch_up()
        item = answer["items"][0]
        found = await client.json("/explain", recommendation_id=answer["recommendation_id"], item=item["item"])
        assert (found["snapshot"], found["experts"]) == (first, item["experts"])
        page = await client.get(answer["next"])
        assert (page.json()["snapshot"], page.headers["x-snapshot-id"]) == (first, first)
        assert (await client.recommend(USER))["snapshot"] == second


async def test_explanation_survives_any_number_of_swaps_and_the_snapshot_itself(tmp_path: Path) -> None:
    root = tmp_path
    snapshots = [write_tiny_pair_snapshot(root, seed=seed) for seed in range(4)]
    promoted(root, snapshots[0])
    async with in_process(root) as client:
        answer = await client.recommend(USER, k=5, explain="full")
        popular = await client.recommend("nobody", k=1)
        for snapshot in snapshots[1:]:
            promoted(root, snapshot)
            await client.service.watcher.catch_up()
        params = {"recommendation_id": answer["recommendation_id"]}
        for item in answer["items"]:
            reply = await client.get("/explain", params=params | {"item": item["item"]})
            found = reply.json()
            for field in ("score", "experts", "modality_amounts", "because", "title", "image"):
                assert found[field] == item[field]
            assert found["snapshot"] == reply.headers["x-snapshot-id"] == snapshots[0]
            assert found["faithfulness"] == {"spearman": 0.9}
        assert Store(root).prune(keep=1)
        client.service.recall = Recall(client.service.deployment)
        item = answer["items"][0]
        found = await client.json("/explain", **params, item=item["item"])
        assert (found["experts"], found["because"]) == (item["experts"], None)
        params = {"recommendation_id": popular["recommendation_id"], "item": popular["items"][0]["item"]}
        assert (await client.json("/explain", **params))["because"] == []


async def test_experts_state_what_was_measured_of_them(client: ServiceClient, served: ServedSnapshot) -> None:
    found = await client.json("/experts")
    assert [expert["name"] for expert in found["experts"]] == [term.name for term in served.terms]
    by_name = {expert["name"]: expert["use"] for expert in found["experts"]}
    assert by_name["dominant-behaviour"] == {"mean_weight": 0.7, "share_of_pairs": 0.9}
    assert by_name["item-item"] == {}
    assert found["explanation"] == served.manifest.explanation != {}
    assert found["candidates"]["recall"] == {"recall@20": 1.0}
    assert found["candidates"]["steered_depth"] == served.manifest.candidates.steered_depth != {}
    assert found["routed_variance_share"] == 0.5


@pytest.fixture(params=["embedded", "redis"])
async def workers(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[list[ServiceClient]]:
    """Two over one state, and over a store of their own: `tmp_path / "store"`."""
    root, redis = tmp_path / "store", RedisServer(tmp_path / "redis")
    promoted(root, write_tiny_pair_snapshot(root, seed=0))
    settings: dict[str, Any] = {"state": tmp_path / "state", "workers": 2}
    if request.param == "redis":
        redis.start()
        settings["redis_url"] = redis.url
    try:
        async with in_process(root, **settings) as here, in_process(root, **settings) as there:
            yield [here, there]
    finally:
        redis.stop()


async def test_other_workers_explain_an_answer_whose_snapshot_is_gone(
    workers: list[ServiceClient], tmp_path: Path
) -> None:
    """As long as they have served it themselves; a worker that never saw it has nothing to read it with."""
    root = tmp_path / "store"
    here, there = workers
    answer = await here.recommend(USER, k=5, explain="full")
    for seed in (1, 2, 3):
        promoted(root, write_tiny_pair_snapshot(root, seed=seed))
        for worker in workers:
            await worker.service.watcher.catch_up()
    assert Store(root).prune(keep=1)
    settings = {"state": tmp_path / "state", "workers": 2, "redis_url": here.service.settings.redis_url}
    async with in_process(root, **settings) as late:
        for item in answer["items"]:
            named = {"recommendation_id": answer["recommendation_id"], "item": item["item"]}
            for worker in (here, there):
                found = await worker.json("/explain", **named)
                for field in ("score", "experts", "modality_amounts", "title", "image"):
                    assert found[field] == item[field]
                assert (found["snapshot"], found["because"]) == (answer["snapshot"], None)
            await late.json("/explain", 410, **named)


async def test_an_answer_that_another_version_kept_is_gone(workers: list[ServiceClient]) -> None:
    here, there = workers
    answer = await here.recommend(USER, k=1)
    named = {"recommendation_id": answer["recommendation_id"], "item": answer["items"][0]["item"]}
    assert (await there.json("/explain", **named))["score"] == answer["items"][0]["score"]
    here.service.mirror.store.keep_answer(named["recommendation_id"], USER, b'{"user_id":"user/001","page":{}}', 60.0)
    for _ in range(100):
        if (await there.service.mirror.store.kept_answer(named["recommendation_id"]) or b"").startswith(b"{"):
            break
        await anyio.sleep(0.05)
    await there.json("/explain", 410, **named)


async def test_what_was_shown_of_an_item_is_explained_though_it_has_changed_since(workers: list[ServiceClient]) -> None:
    here, there = workers
    shown = (await here.recommend(USER, k=3))["items"]
    path = "/items/" + shown[1]["item"].replace("/", "%2F")
    answers = []
    for title in ("first", "second"):
        assert (await here.put(path, json={"title": title})).status_code == 200
        await there.service.catch_up()
        answers.append(await here.recommend(USER, k=3))
        assert answers[-1]["items"][1]["title"] == title
    for answer in answers:
        for item in answer["items"]:
            for worker in workers:
                named = {"recommendation_id": answer["recommendation_id"], "item": item["item"]}
                assert (await worker.json("/explain", **named))["title"] == item["title"]


async def test_a_kept_answer_is_small(client: ServiceClient) -> None:
    """A page of 20 takes 2 KB where numbers are kept as they are, half of that where it was made ahead."""
    answer = await client.recommend(USER)
    found = client.service.recommender.answers.own.get(answer["recommendation_id"])
    assert found is not None
    assert len(found[1]) < 2500 < len(orjson.dumps(answer["items"]))


async def test_imprints_leave_with_the_answers(tmp_path: Path) -> None:
    snapshots = [write_tiny_pair_snapshot(tmp_path, seed=seed) for seed in range(4)]
    for ttl, left in ((60.0, 2), (1e-9, 1)):
        deployment = Deployment(tmp_path, answer_ttl_seconds=ttl)
        for snapshot in snapshots:
            deployment.activate(ServedSnapshot(deployment.store.open(snapshot), indexed=False))
        found = [deployment.imprint(snapshot) is not None for snapshot in snapshots]
        assert found == [ttl > 1, True, True, True]
        assert len(deployment._imprints) == left
