"""What is kept of questions is bounded in bytes: callers choose how long theirs are."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path
from typing import Any
from urllib.parse import clear_cache  # type: ignore[attr-defined]

import pytest

from service.routes.lean import MAX_KEPT_QUERY, LeanRoute
from tests.support.service_client import ServiceClient, in_process

pytestmark = pytest.mark.anyio
PATH = "/recommend/user%2F001"
TIMES = 60
LONG = 50_000


async def get(client: ServiceClient, number: int) -> None:
    answer = (await client.get(f"{PATH}?offset=999&k=1&exclude={number}{'x' * LONG}")).json()
    assert "next" not in answer  # else the body is large, and of what orjson makes tracemalloc counts all it ever took


async def post(client: ServiceClient, number: int) -> None:
    body = {"users": ["user/001"], "k": 1, "exclude": [f"{number}{'x' * LONG}"]}
    (answer,) = (await client.post("/recommend", json=body)).json()["answers"]
    assert len(answer["next"]) > LONG


@pytest.mark.parametrize("ask", [get, post])
async def test_long_questions_do_not_stay(store_root: Path, tmp_path: Path, ask: Any) -> None:
    async with in_process(store_root, state=tmp_path, cache_memory_mb=0.5) as client:
        for number in range(3):  # what is made once is no growth
            await ask(client, number)
        gc.collect()
        tracemalloc.start()
        try:
            for number in range(3, TIMES):
                await ask(client, number)
            clear_cache()  # of the client's addresses
            gc.collect()
            grown, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert grown < 0.5 * 2**20 + 10 * LONG


async def test_prepared_answers_count_what_was_asked(store_root: Path, tmp_path: Path) -> None:
    async with in_process(store_root, state=tmp_path, cache_memory_mb=0.1) as client:
        await client.recommend("user/001")  # from here on the user's events are in memory
        shelf = client.service.prepared._shelf
        for number in range(100):
            await client.recommend("user/001", k=1, offset=999, exclude=f"{number}{'x' * 5000}")
            questions = [key for key in shelf._kept if isinstance(key, tuple)]
            held = sum(len(user_id.encode()) + len(query) for user_id, query, *_ in questions)
            assert held < shelf.bytes <= 0.1 * 2**20
        assert 10 < len(shelf) < 100


async def test_queries_are_parsed_once_unless_they_are_long(client: ServiceClient) -> None:
    await client.recommend("user/001")
    (route,) = [route for route in client.app.routes if isinstance(route, LeanRoute)]
    for length, kept in ((MAX_KEPT_QUERY, 1), (MAX_KEPT_QUERY + 1, 0)):
        before = route._parse.cache_info()
        query = "k=1&exclude=".ljust(length, "x")
        answers = [(await client.get(f"{PATH}?{query}")).json() for _ in range(2)]
        assert answers[0] == answers[1]
        after = route._parse.cache_info()
        assert (after.currsize - before.currsize, after.hits - before.hits) == (kept, kept)
