"""Two workers on a port, with either state store: what one learns the other shows, and swaps fail nobody."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from model_store.store import Store
from tests.support.events import event, sent
from tests.support.redis_server import RedisServer
from tests.support.service_client import on_a_port, promoted
from tests.support.tiny_encoder import tiny_item_encoder
from tests.support.tiny_snapshot import EXPERTS, FEATURE_WIDTH, MODALITIES, write_tiny_pair_snapshot

pytestmark = pytest.mark.anyio
ADMIN = {"X-API-Key": "admin"}
WORKERS = 2
MEETINGS = 12
"""New connections, so that both workers are met; the chance to miss one is 1 in 2048."""


@dataclass(frozen=True)
class Running:
    address: str
    root: Path
    first: str
    second: str

    def get(self, path: str, **params: Any) -> Any:
        """Over a connection of its own."""
        return httpx.get(f"{self.address}{path}", params=params or None, timeout=10)

    def everywhere(self, path: str, shows: Callable[[Any], bool], **params: Any) -> None:
        """Every worker's answer at `path` shows it within a second."""
        deadline = time.monotonic() + 1
        while not all(shows(self.get(path, **params).json()) for _ in range(MEETINGS)):
            assert time.monotonic() < deadline, f"{path} does not show it everywhere within a second"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module", params=["embedded", "redis"])
def running(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Running]:
    root = tmp_path_factory.mktemp("store")
    encoder = tiny_item_encoder(MODALITIES, FEATURE_WIDTH, width=8, n_experts=len(EXPERTS), residual_width=4)
    files = {"item_encoder.onnx": encoder}
    first, second = [write_tiny_pair_snapshot(root, seed=seed, n_items=120, files=files) for seed in (0, 1)]
    promoted(root, first)
    environment = {"MAGNET_ADMIN_KEY": "admin", "MAGNET_SNAPSHOT_POLL_SECONDS": "0.1"}
    redis = RedisServer(tmp_path_factory.mktemp("redis"))
    if request.param == "redis":
        redis.start()
        environment["MAGNET_REDIS_URL"] = redis.url
    with on_a_port(root, workers=WORKERS, **environment) as address:
        yield Running(address, root, first, second)
    redis.stop()


def test_each_worker_explains_what_the_other_answered(running: Running) -> None:
    answers = [running.get("/recommend/user%2F001", k=3).json() for _ in range(4)]
    for answer in answers:
        item = answer["items"][0]
        for _ in range(4):
            found = running.get("/explain", recommendation_id=answer["recommendation_id"], item=item["item"])
            assert found.status_code == 200, found.text
            assert found.json()["experts"] == item["experts"]


def test_events_and_items_reach_every_worker_within_a_second(running: Running) -> None:
    clicked = running.get("/recommend/user%2F002", k=1).json()["items"][0]["item"]
    reply = httpx.post(f"{running.address}/events", json=sent(event("user/002", clicked)))
    assert reply.json() == {"accepted": 1, "duplicates": 0}
    running.everywhere("/recommend/user%2F002", lambda answer: answer["events_used"] == 1)

    features = {name: np.ones(FEATURE_WIDTH).tolist() for name in MODALITIES[1:]}
    put = httpx.put(f"{running.address}/items/new", json={"categories": ["new"], "features": features})
    assert put.json()["recommendable"]
    running.everywhere("/recommend/user%2F001", lambda answer: len(answer["items"]) == 1, category="new")
    httpx.delete(f"{running.address}/items/new")
    running.everywhere("/recommend/user%2F001", lambda answer: answer["items"] == [], category="new")

    httpx.delete(f"{running.address}/users/user%2F004")
    running.everywhere("/recommend/user%2F004", lambda answer: answer["strategy"] == "popular")


async def test_swaps_under_load_fail_nobody(running: Running) -> None:
    seen: set[str] = set()
    failed: list[str] = []
    asked = 0
    done = asyncio.Event()

    async def ask(number: int) -> None:
        nonlocal asked
        async with httpx.AsyncClient(base_url=running.address, timeout=30) as client:
            while not done.is_set():
                reply = await client.get(f"/recommend/user%2F{number:03d}", params={"k": 5, "offset": asked % 40})
                asked += 1
                if reply.status_code != 200 or reply.headers["x-snapshot-id"] != reply.json()["snapshot"]:
                    failed.append(reply.text)
                seen.add(reply.headers.get("x-snapshot-id", "none"))

    askers = [asyncio.create_task(ask(number)) for number in (1, 2, 4, 5)]
    async with httpx.AsyncClient(base_url=running.address, headers=ADMIN, timeout=30) as admin:
        for wanted in (running.second, running.first, running.second):
            await asyncio.sleep(0.3)
            reply = await admin.post("/admin/activate", json={"snapshot": wanted})
            assert reply.status_code == 200, reply.text
        reply = await admin.post("/admin/rollback")
        assert reply.json()["snapshot"] == Store(running.root).current() == running.first
    done.set()
    await asyncio.gather(*askers)
    assert failed == []
    assert asked > 20
    assert seen == {running.first, running.second}
    running.everywhere("/snapshot", lambda found: found["snapshot"] == running.first)


def test_metrics_add_up_over_workers(running: Running) -> None:
    sample = 'magnet_request_seconds_count{method="GET",route="/livez",status="200"} '

    def counted() -> float:
        lines = running.get("/metrics").text.splitlines()
        return sum(float(line.removeprefix(sample)) for line in lines if line.startswith(sample))

    before = counted()
    for _ in range(MEETINGS):
        running.get("/livez")
    assert counted() == before + MEETINGS
