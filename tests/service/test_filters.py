"""Filters hold, whatever they are combined with: every answer equals what an exact scan of the allowed items gives."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.asking import asker_for
from service.ranking import steering
from service.schemas.queries import parse_steer
from service.served import ServedSnapshot
from service.view import View
from tests.service.conftest import N_ITEMS, N_USERS
from tests.support.events import event, sent
from tests.support.service_client import ServiceClient, in_process

HIDDEN_ROWS = (3, 50, 51, 299)
UNWANTED_ROW = 7

wishes = st.fixed_dictionaries(
    {
        "user_row": st.integers(0, N_USERS - 2),
        "k": st.integers(1, 500),
        "offset": st.integers(0, 400),
        "categories": st.lists(st.sampled_from(["red", "green", "blue", "shelf 1", "shelf 4", "none"]), max_size=3),
        "exclude": st.lists(st.integers(0, N_ITEMS - 1), max_size=30),
        "exclude_seen": st.booleans(),
        "steer": st.sampled_from([(), ("visual:2.5",), ("item-item:0", "textual:0.3"), ("dominant-visual:4",)]),
        "diversity": st.sampled_from([0, 0, 0.5]),
    }
)


class Running:
    """A service on an event loop of its own, for tests that are not coroutines."""

    def __init__(self, loop: asyncio.AbstractEventLoop, client: ServiceClient) -> None:
        self._loop = loop
        self._client = client

    @property
    def served(self) -> ServedSnapshot:
        return self._client.service.deployment.require()

    def recommend(self, user_id: str, **params: Any) -> Any:
        return self._loop.run_until_complete(self._client.recommend(user_id, **params))

    def prepare(self, served: ServedSnapshot) -> None:
        """Hide items, and let every user dislike one."""

        async def prepare() -> None:
            for row in HIDDEN_ROWS:
                await self._client.delete(f"/items/{quote(served.snapshot.item_id(row), safe='')}")
            disliked = served.snapshot.item_id(UNWANTED_ROW)
            users = [served.snapshot.user_id(row) for row in range(N_USERS)]
            body = sent(*(event(user, disliked, "dislike") for user in users))
            assert (await self._client.post("/events", json=body)).status_code == 200

        self._loop.run_until_complete(prepare())


@pytest.fixture(scope="module", params=["all by index", "few by index"])
def running(
    store_root: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Running]:
    with asyncio.Runner() as runner:
        context = in_process(store_root, state=tmp_path_factory.mktemp("state"))
        client = runner.run(context.__aenter__())
        running = Running(runner.get_loop(), client)
        running.prepare(running.served)
        if request.param == "few by index":
            running.served.depth = 1  # so that filters have to fall back to scanning
        yield running
        runner.run(context.__aexit__(None, None, None))


@settings(max_examples=60, deadline=None)
@given(wish=wishes)
def test_answers_equal_an_exact_scan(running: Running, wish: dict[str, Any]) -> None:
    served = running.served
    user_id = served.snapshot.user_id(wish["user_row"])
    exclude = [served.snapshot.item_id(row) for row in wish["exclude"]]
    params = {name: wish[name] for name in ("k", "offset", "exclude_seen", "steer", "diversity")}
    answer = running.recommend(user_id, category=wish["categories"], exclude=exclude, **params)

    allowed = allowed_rows(served, wish)
    rows = [served.snapshot.item_row(item["item"]) for item in answer["items"]]
    assert len(set(rows)) == len(rows)
    assert set(rows) <= allowed
    expected = min(wish["k"], max(len(allowed) - wish["offset"], 0))
    assert len(rows) == expected
    assert answer["complete"] == (expected == wish["k"])
    assert ("shortfall" in answer) != answer["complete"]
    assert ("next" in answer) == (len(allowed) > wish["offset"] + wish["k"])
    if served.depth >= served.n_items and not wish["diversity"]:
        best = exact_ranking(served, user_id, allowed, wish["steer"])[wish["offset"] :][:expected]
        assert rows == best


def allowed_rows(served: ServedSnapshot, wish: dict[str, Any]) -> set[int]:
    """The oracle of the filters, item by item."""
    seen = set(served.snapshot.history(wish["user_row"]).tolist()) if wish["exclude_seen"] else set()
    return {
        row
        for row in range(served.n_items)
        if row not in HIDDEN_ROWS
        and row != UNWANTED_ROW
        and row not in wish["exclude"]
        and row not in seen
        and (not wish["categories"] or set(served.snapshot.item(row).categories) & set(wish["categories"]))
    }


def exact_ranking(served: ServedSnapshot, user_id: str, allowed: set[int], steer: tuple[str, ...]) -> list[int]:
    """Allowed rows by their exact score, rounded as it is printed, ties by row."""
    user_row = served.snapshot.user_row(user_id)
    assert user_row is not None
    history = [row for row in served.snapshot.history(user_row).tolist() if row != UNWANTED_ROW]
    asker = asker_for(View(served), user_id)
    state = served.scorer.encode_user(np.array(history, np.int32)) if UNWANTED_ROW in asker.seen else asker.state
    assert state is not None
    pairs = served.scorer.score(state, np.arange(served.n_items))
    factors = steering(served, dict(map(parse_steer, steer)))
    contributions = pairs.contributions if factors is None else (pairs.amounts * factors).sum(axis=2)
    scores = contributions.round(6).sum(axis=1).round(6)
    return sorted(allowed, key=lambda row: (-scores[row], row))


@settings(max_examples=30, deadline=None)
@given(k=st.integers(1, 300), category=st.sampled_from([[], ["red"], ["none"]]), exclude=st.sets(st.integers(0, 299)))
def test_popular_answers_keep_to_the_filters(running: Running, k: int, category: list[str], exclude: set[int]) -> None:
    served = running.served
    answer = running.recommend("nobody", k=k, category=category, exclude=[served.snapshot.item_id(r) for r in exclude])
    rows = [served.snapshot.item_row(item["item"]) for item in answer["items"]]
    wish = {"user_row": N_USERS - 1, "exclude_seen": False, "exclude": exclude, "categories": category}
    allowed = allowed_rows(served, wish) | ({UNWANTED_ROW} - exclude if not category else set())
    assert len(set(rows)) == len(rows) == min(k, len(allowed))
    assert set(rows) <= allowed
