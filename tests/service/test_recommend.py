"""Answers: their shape, their arithmetic, their order, and that pages fit together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from service.asking import asker_for
from service.schemas.answers import Answer
from service.served import ServedSnapshot
from service.view import View
from tests.support.service_client import ServiceClient

pytestmark = pytest.mark.anyio
USER = "user/001"


def exact_top(served: ServedSnapshot, user_id: str, k: int) -> list[str]:
    """The oracle: every item scored, seen ones left out, ties by row."""
    asker = asker_for(View(served), user_id)
    assert asker.state is not None
    scores = served.scorer.score_all(asker.state)
    scores[asker.seen] = -np.inf
    return [served.snapshot.item_id(int(row)) for row in np.lexsort((np.arange(len(scores)), -scores))[:k]]


async def test_answer_has_the_promised_shape(client: ServiceClient, served: ServedSnapshot) -> None:
    answer = await client.recommend(USER, k=5)
    Answer.model_validate(answer)
    assert list(answer) == [
        *("user", "snapshot", "recommendation_id", "strategy", "events_used", "complete", "degraded", "items", "next")
    ]
    assert (answer["user"], answer["snapshot"], answer["strategy"]) == (USER, served.id, "personalised")
    assert list(answer["items"][0]) == ["item", "rank", "score", "title", "image", "experts"]
    assert list(answer["items"][0]["experts"][0]) == ["name", "role", "modalities", "weight", "contribution"]


async def test_top_items_are_the_exact_ones(client: ServiceClient, served: ServedSnapshot) -> None:
    for user_row in range(served.snapshot.n_users - 1):
        user_id = served.snapshot.user_id(user_row)
        answer = await client.recommend(user_id, k=20)
        assert [item["item"] for item in answer["items"]] == exact_top(served, user_id, 20)


@pytest.mark.parametrize(
    "params", [{}, {"steer": "visual:0.5"}, {"diversity": 0.7}, {"category": "red"}, {"offset": 150}]
)
async def test_printed_numbers_add_up(client: ServiceClient, params: dict[str, Any]) -> None:
    answer = await client.recommend(USER, k=50, explain="full", **params)
    assert len(answer["items"]) == 50
    for item in answer["items"]:
        assert item["score"] == pytest.approx(sum(term["contribution"] for term in item["experts"]), abs=1e-9)
        assert item["score"] == pytest.approx(sum(item["modality_amounts"].values()), abs=1e-9)
        weights = [term["weight"] for term in item["experts"] if term["weight"] is not None]
        assert sum(weights) == pytest.approx(1, abs=5e-6)
        assert all(term["contribution"] or term["weight"] for term in item["experts"])
        assert all(round(term["contribution"], 6) == term["contribution"] for term in item["experts"])


async def test_order_follows_the_printed_scores(client: ServiceClient) -> None:
    answer = await client.recommend(USER, k=90)
    scores = [item["score"] for item in answer["items"]]
    assert scores == sorted(scores, reverse=True)
    assert [item["rank"] for item in answer["items"]] == list(range(1, 91))


async def test_pages_are_one_ranking(client: ServiceClient) -> None:
    for params in ({}, {"diversity": 0.4}, {"steer": ["textual:2", "item-item:0.5"]}):
        whole = await client.recommend(USER, k=280, **params)
        walked: list[Any] = []
        link = f"/recommend/user%2F001?k=70&{'&'.join(f'{n}={v}' for n, v in flat(params))}"
        while link and len(walked) < 280:
            page = await client.json(link)
            walked += page["items"]
            link = page.get("next")
        assert [(i["item"], i["rank"], i["score"]) for i in walked] == [
            (i["item"], i["rank"], i["score"]) for i in whole["items"]
        ]


def flat(params: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(name, v) for name, value in params.items() for v in (value if isinstance(value, list) else [value])]


async def test_last_page_has_no_next_and_says_what_is_missing(client: ServiceClient, served: ServedSnapshot) -> None:
    unseen = served.n_items - len(asker_for(View(served), USER).seen)
    answer = await client.recommend(USER, k=100, offset=unseen - 10)
    assert len(answer["items"]) == 10
    assert not answer["complete"]
    assert answer["shortfall"]["requested"] == 100
    assert answer["shortfall"]["returned"] == 10
    assert str(unseen) in answer["shortfall"]["because"]
    assert "next" not in answer


@pytest.mark.parametrize("user_id", ["nobody", "a/b c?d#e%", "🧲", "session", "../../etc"])
async def test_unknown_users_get_popular_items(client: ServiceClient, served: ServedSnapshot, user_id: str) -> None:
    answer = await client.recommend(user_id, k=40)
    assert (answer["user"], answer["strategy"], answer["complete"]) == (user_id, "popular", True)
    for item in answer["items"]:
        (term,) = item["experts"]
        assert (term["name"], term["role"], term["weight"]) == ("popularity", "base", None)
        assert item["score"] == term["contribution"]
    explored = [item for item in answer["items"] if item["rank"] % 5 == 0]
    others = [item["score"] for item in answer["items"] if item["rank"] % 5]
    assert answer["exploration"] == 0.2
    assert others == sorted(others, reverse=True)
    top = {served.snapshot.item_id(int(row)) for row in served.popular_rows[:100]}
    assert not top & {item["item"] for item in explored}


async def test_users_without_history_explore_differently(client: ServiceClient) -> None:
    first, second = [await client.recommend(user_id, k=100) for user_id in ("one", "two")]
    assert [i["item"] for i in first["items"]] != [i["item"] for i in second["items"]]
    assert (await client.recommend("one", k=100))["items"] == first["items"]


async def test_steering_scales_amounts_and_leaves_gates(client: ServiceClient) -> None:
    params: dict[str, Any] = {"k": 300, "exclude_seen": False, "explain": "full"}
    plain = await client.recommend(USER, **params)
    steered = await client.recommend(USER, **params, steer=["visual:2", "dominant-textual:0"])
    before = {item["item"]: item for item in plain["items"]}
    for item in steered["items"]:
        was = before[item["item"]]
        weights = {term["name"]: term["weight"] for term in was["experts"]}
        assert all(weights[term["name"]] == term["weight"] for term in item["experts"])
        assert all(term["contribution"] == 0 for term in item["experts"] if term["name"] == "dominant-textual")
        if not any(term["name"] == "dominant-textual" for term in was["experts"]):
            wanted = was["score"] + was["modality_amounts"]["visual"]
            assert item["score"] == pytest.approx(wanted, abs=1e-5)


async def test_diversity_reorders_and_keeps_scores(client: ServiceClient) -> None:
    plain = await client.recommend(USER, k=100)
    diverse = await client.recommend(USER, k=100, diversity=0.8)
    scores = {item["item"]: item["score"] for item in plain["items"]}
    assert {item["item"]: item["score"] for item in diverse["items"]} == scores
    assert [item["item"] for item in diverse["items"]] != list(scores)
    assert diverse["items"][0]["item"] == plain["items"][0]["item"]


async def test_explain_levels(client: ServiceClient) -> None:
    none, full = [(await client.recommend(USER, k=1, explain=e))["items"][0] for e in ("none", "full")]
    assert list(none) == ["item", "rank", "score", "title", "image"]
    assert {"experts", "modality_amounts", "because"} <= set(full)
    amounts = [share["amount"] for share in full["because"]]
    assert sum(amounts) == pytest.approx(full["score"], abs=5e-3)
    assert amounts == sorted(amounts, key=abs, reverse=True)
