"""What the router made of a user is reused while it holds, and never longer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from model_store.scoring import PairScores, UserState
from service.routed import RoutedUsers
from service.served import ServedSnapshot
from service.state.protocol import NO_EVENTS, Edition, KeptEvent, UserEvents
from service.telemetry import Metrics
from service.view import View
from tests.support.events import event, sent
from tests.support.service_client import ServiceClient, in_process, promoted
from tests.support.tiny_snapshot import write_tiny_pair_snapshot

pytestmark = pytest.mark.anyio
USER = "user/001"
ROOMY = 2**24


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many items each call to a view's scoring was about."""
    calls: list[int] = []
    score = View.score

    def counted(self: View, state: UserState, rows: NDArray[np.int64]) -> PairScores:
        calls.append(len(rows))
        return score(self, state, rows)

    monkeypatch.setattr(View, "score", counted)
    return calls


def path_of(item_id: str) -> str:
    return "/items/" + item_id.replace("/", "%2F")


async def test_pages_and_explanations_score_nothing_again(client: ServiceClient, scored: list[int]) -> None:
    first = await client.recommend(USER, k=10)
    assert len(scored) == 1
    second = await client.json(first["next"])
    found = await client.json("/explain", user=USER, item=second["items"][0]["item"])
    assert len(scored) == 1
    for field in ("score", "experts"):
        assert found[field] == second["items"][0][field]
    text = (await client.get("/metrics")).text
    assert 'magnet_cache_total{cache="scores",outcome="hit"} 2.0' in text
    assert 'magnet_cache_total{cache="users",outcome="miss"} 1.0' in text


@pytest.mark.parametrize("params", [{}, {"steer": "visual:3"}, {"diversity": 0.5}, {"offset": 120}])
async def test_reused_values_are_the_computed_ones(store_root: Path, tmp_path: Path, params: dict[str, Any]) -> None:
    async with (
        in_process(store_root, state=tmp_path / "a", cache_memory_mb=0) as keeping,
        in_process(store_root, state=tmp_path / "b", cache_memory_mb=0, router_memory_mb=0) as fresh,
    ):
        for _ in range(3):
            answers = [await client.recommend(USER, k=20, explain="full", **params) for client in (keeping, fresh)]
            assert answers[0]["items"] == answers[1]["items"]
        assert len(keeping.service.recommender.routed) == 1
        assert len(fresh.service.recommender.routed) == fresh.service.recommender.routed.bytes == 0


async def test_nothing_kept_outlives_an_event_an_edit_or_a_forgotten_user(
    client: ServiceClient, scored: list[int], store_root: Path, tmp_path: Path
) -> None:
    async def asked() -> list[tuple[str, float]]:
        return [(item["item"], item["score"]) for item in (await client.recommend(USER, k=30))["items"]]

    before = await asked()
    item = before[3][0]
    await client.post("/events", json=sent(event(USER, before[0][0])))
    after = await asked()
    explained = await client.json("/explain", user=USER, item=item)
    assert dict(after)[item] == explained["score"] != dict(before)[item]
    hidden = after[0][0]
    await client.delete(path_of(hidden))
    assert hidden not in dict(await asked())
    await client.json("/explain", 404, user=USER, item=hidden)
    await client.delete("/users/user%2F001")
    assert len(client.service.recommender.routed) == 0
    assert (await client.recommend(USER))["strategy"] == "popular"
    await client.json("/explain", 404, user=USER, item=item)
    assert len(scored) == 3


async def test_nothing_kept_outlives_a_swap(tmp_path: Path, scored: list[int]) -> None:
    first, second = [write_tiny_pair_snapshot(tmp_path, seed=seed) for seed in (0, 1)]
    promoted(tmp_path, first)
    async with in_process(tmp_path) as client:
        before = await client.recommend(USER, k=5)
        promoted(tmp_path, second)
        await client.service.watcher.catch_up()
        after = await client.recommend(USER, k=5)
        assert (after["snapshot"], len(scored)) == (second, 2)
        assert [item["score"] for item in after["items"]] != [item["score"] for item in before["items"]]
        item = after["items"][0]
        assert (await client.json("/explain", user=USER, item=item["item"]))["score"] == item["score"]
        assert (await client.json(before["next"]))["snapshot"] == first
        assert len(scored) == 2  # the page of the old snapshot finds the old scores


def test_a_store_that_counts_from_the_beginning_again_is_noticed(served: ServedSnapshot) -> None:
    routed, view = RoutedUsers(ROOMY, Metrics()), View(served)
    liked = [UserEvents((KeptEvent(1, event(USER, served.snapshot.item_id(row))),)) for row in (7, 8)]
    first, second = (routed.asker(view, "newcomer", events) for events in liked)
    assert (first.history_rows.tolist(), second.history_rows.tolist()) == ([7], [8])
    assert routed.asker(view, "newcomer", UserEvents(liked[1].events)) is second
    rows = np.arange(20)
    expected = view.score(first.state, rows) if first.state is not None else None
    assert expected is not None
    assert np.array_equal(routed.score(view, first, rows).amounts, expected.amounts)  # and is not kept for the second
    assert not np.array_equal(routed.score(view, second, rows).amounts, expected.amounts)


@pytest.mark.parametrize("edition", [Edition(losses=1), Edition(version=1), Edition(taken=1)])
def test_another_view_is_scored_by_itself(served: ServedSnapshot, scored: list[int], edition: Edition) -> None:
    second = View(served, {}, edition)
    routed, rows = RoutedUsers(ROOMY, Metrics()), np.arange(20)
    views = [View(served), second]
    asker = routed.asker(views[0], USER, NO_EVENTS)
    for view in (views[0], views[1], views[0]):
        routed.score(view, asker, rows)
        routed.score_pair(view, asker, 3)
    assert scored == [20, 20, 1]
    assert routed.asker(second, USER, NO_EVENTS) is not asker


def test_the_least_recently_used_leave_first(served: ServedSnapshot) -> None:
    metrics, view, rows = Metrics(), View(served), np.arange(50)
    users = [user for row in range(20) if len(served.snapshot.history(row)) and (user := served.snapshot.user_id(row))]
    measured = RoutedUsers(ROOMY, metrics)
    measured.score(view, measured.asker(view, users[0], NO_EVENTS), rows)
    routed = RoutedUsers(int(measured.bytes * 2.5), metrics)
    askers = []
    for user in users:
        askers.append(routed.asker(view, user, NO_EVENTS))
        routed.score(view, askers[-1], rows)
        routed.asker(view, users[0], NO_EVENTS)  # used again and again, so it stays
    assert routed.bytes <= measured.bytes * 2.5
    assert routed.asker(view, users[0], NO_EVENTS) is askers[0]
    assert routed.asker(view, users[1], NO_EVENTS) is not askers[1]
    for user in users:
        routed.forget({user})
    assert (len(routed), routed.bytes) == (0, 0)
