"""Events change the user's answers at once, for every strategy, and can be forgotten."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from service.asking import asker_for
from service.served import ServedSnapshot
from service.view import View
from tests.support.events import event, sent
from tests.support.service_client import ServiceClient, in_process

pytestmark = pytest.mark.anyio
USER = "user/001"


async def items_of(client: ServiceClient, user_id: str, **params: object) -> list[str]:
    answer = await client.recommend(user_id, **params)
    return [item["item"] for item in answer["items"]]


async def test_a_new_user_is_folded_in_like_a_known_one_with_that_history(
    client: ServiceClient, served: ServedSnapshot
) -> None:
    row = served.snapshot.user_row(USER)
    assert row is not None
    history = [served.snapshot.item_id(int(item)) for item in served.snapshot.history(row)]
    assert (await client.recommend("newcomer"))["strategy"] == "popular"
    reply = await client.post("/events", json=sent(*(event("newcomer", item) for item in history)))
    assert reply.json() == {"accepted": len(history), "duplicates": 0}
    folded = await client.recommend("newcomer", k=50)
    assert (folded["strategy"], folded["events_used"]) == ("folded-in", len(history))
    known = {item["item"]: item["score"] for item in (await client.recommend(USER, k=300))["items"]}
    for item in folded["items"]:
        assert item["score"] == pytest.approx(known[item["item"]], abs=1e-3)  # stored user vectors are half precision
    explained = await client.json("/explain", user="newcomer", item=folded["items"][0]["item"])
    assert explained["score"] == pytest.approx(folded["items"][0]["score"], abs=1e-4)
    assert (await client.json("/users/newcomer"))["known_to_snapshot"] is False


async def test_a_clicked_item_is_seen_and_shapes_the_answer(client: ServiceClient) -> None:
    before = await client.recommend(USER, k=5)
    clicked = before["items"][0]["item"]
    await client.post("/events", json=sent(event(USER, clicked)))
    after = await client.recommend(USER, k=5)
    assert (after["strategy"], after["events_used"]) == ("personalised", 1)
    assert clicked not in [item["item"] for item in after["items"]]
    assert after["items"][0]["score"] != before["items"][1]["score"]
    assert clicked in await items_of(client, USER, k=300, exclude_seen=False)


async def test_what_the_snapshot_knows_already_is_not_new(client: ServiceClient, served: ServedSnapshot) -> None:
    before = await client.recommend(USER, k=50)
    known = served.snapshot.item_id(int(asker_for(View(served), USER).history_rows[0]))
    await client.post("/events", json=sent(event(USER, known, "purchase")))
    after = await client.recommend(USER, k=50)
    assert after["events_used"] == 0
    assert after["items"] == before["items"]


@pytest.mark.parametrize(("kind", "value"), [("hide", None), ("dislike", None), ("rating", 1.0)])
async def test_unwanted_items_never_come_back(client: ServiceClient, kind: str, value: float | None) -> None:
    unwanted = (await items_of(client, USER, k=1))[0]
    fields = {} if value is None else {"value": value}
    await client.post("/events", json=sent(event(USER, unwanted, kind, **fields)))
    for params in ({}, {"exclude_seen": False}, {"exclude_seen": False, "steer": "visual:2"}):
        assert unwanted not in await items_of(client, USER, k=300, **params)
    await client.post("/events", json=sent(event(USER, unwanted, "purchase")))
    assert unwanted in await items_of(client, USER, k=300, exclude_seen=False)


async def test_disliking_takes_an_item_out_of_the_history(client: ServiceClient, served: ServedSnapshot) -> None:
    disliked = int(asker_for(View(served), USER).history_rows[-1])
    await client.post("/events", json=sent(event(USER, served.snapshot.item_id(disliked), "dislike")))
    history = (await client.json("/users/user%2F001"))["history"]
    assert served.snapshot.item_id(disliked) not in [item["item"] for item in history]


async def test_pages_stay_where_they_were_pinned(client: ServiceClient) -> None:
    whole = await client.recommend(USER, k=60)
    first = await client.recommend(USER, k=30)
    await client.post("/events", json=sent(event(USER, first["items"][0]["item"])))
    hidden = whole["items"][40]["item"]
    await client.delete(f"/items/{hidden.replace('/', '%2F')}")
    second = await client.json(first["next"])
    wanted = [(item["item"], item["rank"], item["score"]) for item in whole["items"][30:] if item["item"] != hidden]
    assert [(item["item"], item["rank"], item["score"]) for item in second["items"]] == wanted


async def test_sending_twice_changes_nothing(client: ServiceClient) -> None:
    body = sent(event(USER, "item/001"), event(USER, "item/002"))
    assert (await client.post("/events", json=body)).json() == {"accepted": 2, "duplicates": 0}
    before = await client.recommend(USER)
    assert (await client.post("/events", json=body)).json() == {"accepted": 0, "duplicates": 2}
    assert (await client.recommend(USER))["items"] == before["items"]


@pytest.mark.parametrize(
    "broken",
    [
        {"type": "bought"},
        {"timestamp": "now"},
        {"timestamp": 1e18},
        {"type": "rating"},
        {"user": ""},
        {"item": "x" * 600},
        {"surplus": 1},
    ],
)
async def test_broken_events_keep_nothing(client: ServiceClient, broken: dict[str, object]) -> None:
    good = event("someone", "item/001").model_dump(exclude_none=True)
    reply = await client.post("/events", json={"events": [good, good | {"event_id": "other"} | broken]})
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["field"].startswith("body.events.1")
    assert (await client.recommend("someone"))["strategy"] == "popular"


async def test_forgotten_users_are_unknown(client: ServiceClient) -> None:
    await client.post("/events", json=sent(event(USER, "item/001")))
    assert (await client.delete("/users/user%2F001")).json() == {"user": USER, "forgotten": True}
    assert (await client.recommend(USER))["strategy"] == "popular"
    await client.json("/users/user%2F001", 404)
    await client.json("/explain", 404, user=USER, item="item/002")
    await client.post("/events", json=sent(event(USER, "item/004")))
    again = await client.recommend(USER)
    assert (again["strategy"], again["events_used"]) == ("folded-in", 1)


async def test_recent_events_raise_popularity(client: ServiceClient, served: ServedSnapshot) -> None:
    least = served.snapshot.item_id(int(served.popular_rows[-1]))
    now = time.time()
    await client.post("/events", json=sent(*(event(f"u{n}", least, timestamp=now - 400) for n in range(50))))
    await client.service.trends.renew(now)
    answer = await client.recommend("nobody", k=1)
    assert answer["items"][0]["item"] == least
    assert 45 < answer["items"][0]["score"] <= 50


async def test_without_state_answers_come_from_the_snapshot_and_say_so(store_root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with in_process(store_root, state=tmp_path / "file" / "state") as client:
        answer = await client.recommend(USER)
        assert (answer["strategy"], answer["degraded"]) == ("personalised", ["events"])
        reply = await client.post("/events", json=sent(event(USER, "item/001")))
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
        ready = await client.json("/readyz")
        assert ready["status"] == "degraded"
        assert "state store" in ready["degraded"][0]


async def test_a_repeated_question_gets_the_same_answer_until_something_changes(client: ServiceClient) -> None:
    first = await client.recommend(USER)
    second = await client.recommend(USER)  # the user's events are in memory from here on
    assert (await client.recommend(USER))["recommendation_id"] == second["recommendation_id"]
    assert (await client.recommend(USER, k=19))["recommendation_id"] != second["recommendation_id"]
    assert second["items"] == first["items"]
    for change in (
        client.post("/events", json=sent(event(USER, second["items"][0]["item"]))),
        client.delete("/items/" + second["items"][1]["item"].replace("/", "%2F")),
        client.service.trends.renew(time.time() + 1000),
        client.delete("/users/user%2F001"),
    ):
        before = (await client.recommend(USER))["recommendation_id"]
        await change
        assert (await client.recommend(USER))["recommendation_id"] != before
