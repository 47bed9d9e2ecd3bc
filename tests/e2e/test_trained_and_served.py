"""The whole road: train, serve with two workers, learn from feedback, train again, swap under load. Nobody is failed.

A tiny MAGNET out of the real commands, two uvicorn workers on a port, and either state store: a file, or a real Redis.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from model_store.encoders.session import CPU
from model_store.store import Store
from tests.support.events import event, sent
from tests.support.redis_server import RedisServer
from tests.support.service_client import on_a_port
from tests.support.tiny_dataset import WIDTHS, tiny_dataset, write_dataset
from tests.support.tiny_magnet import QUICK
from training.config import RunConfig, write_run_config

pytestmark = pytest.mark.anyio
ADMIN = {"X-API-Key": "admin"}
WORKERS = 2
MEETINGS = 12
"""New connections, so that both workers are met; the chance to miss one is 1 in 2048."""
ASKERS = 4
FORGOTTEN = "u4"


@dataclass(frozen=True)
class Trained:
    """A dataset and the store into which a model of it was published."""

    data: Path
    store: Path


@dataclass(frozen=True)
class Running:
    address: str
    trained: Trained
    environment: dict[str, str]

    @property
    def store(self) -> Store:
        return Store(self.trained.store)

    def get(self, path: str, **params: Any) -> Any:
        """Over a connection of its own."""
        return httpx.get(f"{self.address}{path}", params=params or None, timeout=30)

    def everywhere(self, path: str, shows: Callable[[Any], bool], **params: Any) -> None:
        """Every worker's answer at `path` shows it within a second."""
        deadline = time.monotonic() + 1
        while not all(shows(self.get(path, **params).json()) for _ in range(MEETINGS)):
            assert time.monotonic() < deadline, f"{path} does not show it everywhere within a second"


@dataclass
class Load:
    """What those who ask all the time were answered."""

    asked: int = 0
    failed: list[str] = field(default_factory=list)
    snapshots: set[str] = field(default_factory=set)


def command(module: str, *arguments: str | Path, **environment: str) -> str:
    """One of the commands, as people run it; what it printed."""
    line = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(line, env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("trained")
    data = write_dataset(folder / "data", tiny_dataset())
    write_run_config(folder / "quick.toml", RunConfig(data=data, settings=dict(QUICK)))
    out = ("--store", folder / "store", "--out", folder / "run")
    printed = command("training.cli", "run", "--config", folder / "quick.toml", *out)
    assert printed.strip() == Store(folder / "store").current()
    return Trained(data, folder / "store")


@pytest.fixture(scope="module", params=["embedded", "redis"])
def running(
    trained: Trained, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Running]:
    own = Trained(trained.data, tmp_path_factory.mktemp("served") / "store")
    shutil.copytree(trained.store, own.store)
    environment = {"MAGNET_ADMIN_KEY": "admin", "MAGNET_SNAPSHOT_POLL_SECONDS": "0.1"}
    redis = RedisServer(tmp_path_factory.mktemp("redis"))
    if request.param == "redis":
        redis.start()
        environment["MAGNET_REDIS_URL"] = redis.url
    try:
        with on_a_port(own.store, workers=WORKERS, **environment) as address:
            yield Running(address, own, environment)
    finally:
        redis.stop()


def test_the_trained_graphs_serve(running: Running) -> None:
    ready = running.get("/readyz").json()
    assert ready["onnx"] == {"user_encoder": CPU, "item_encoder": CPU}
    assert (ready["status"], ready["snapshot"]) == ("ready", running.store.current())


def test_each_worker_explains_what_the_other_answered(running: Running) -> None:
    answers = [running.get("/recommend/u1", k=3, offset=offset).json() for offset in range(4)]
    for answer in answers:
        item = answer["items"][0]
        assert item["score"] == pytest.approx(sum(term["contribution"] for term in item["experts"]), abs=1e-5)
        for _ in range(4):
            found = running.get("/explain", recommendation_id=answer["recommendation_id"], item=item["item"])
            assert found.status_code == 200, found.text
            assert found.json()["experts"] == item["experts"]


def test_items_reach_every_worker_within_a_second(running: Running) -> None:
    features = {name: np.ones(WIDTHS[name]).tolist() for name in ("visual", "textual")}
    put = httpx.put(f"{running.address}/items/new", json={"categories": ["new"], "features": features}, timeout=30)
    assert put.json()["recommendable"]
    running.everywhere("/recommend/u1", lambda answer: len(answer["items"]) == 1, category="new")
    httpx.delete(f"{running.address}/items/new")
    running.everywhere("/recommend/u1", lambda answer: answer["items"] == [], category="new")


async def test_feedback_trains_the_next_snapshot_which_is_swapped_in_under_load(
    running: Running, tmp_path: Path
) -> None:
    first = running.store.current()
    clicked = [item["item"] for item in running.get("/recommend/u2", k=3).json()["items"]]
    events = [event("u2", clicked[0]), *(event("newcomer", item) for item in clicked)]
    reply = httpx.post(f"{running.address}/events", json=sent(*events), timeout=30)
    assert reply.json() == {"accepted": 4, "duplicates": 0}
    running.everywhere("/recommend/u2", lambda answer: answer["events_used"] == 1)
    running.everywhere("/recommend/newcomer", lambda answer: answer["strategy"] == "folded-in")
    httpx.delete(f"{running.address}/users/{FORGOTTEN}")
    running.everywhere(f"/recommend/{FORGOTTEN}", lambda answer: answer["strategy"] == "popular")

    async with under_load(running) as load:
        file = tmp_path / "events.jsonl"
        export = ("export-events", "--store", running.trained.store, "--out", file)
        printed = await asyncio.to_thread(command, "service.cli", *export, **running.environment)
        assert printed.startswith("4 events, 1 forgotten users")
        run = ("run", "--data", running.trained.data, "--events", file, "--model", "ease", "--store")
        await asyncio.to_thread(command, "training.cli", *run, running.trained.store, "--out", tmp_path / "run")
        second = running.store.current()
        await asyncio.to_thread(running.everywhere, "/snapshot", lambda found: found["snapshot"] == second)
        asked = load.asked
        async with httpx.AsyncClient(base_url=running.address, headers=ADMIN, timeout=30) as admin:
            reply = await admin.post("/admin/rollback")
            assert reply.json() == {"snapshot": first, "previous": second}
            await asyncio.to_thread(running.everywhere, "/snapshot", lambda found: found["snapshot"] == first)
            assert (await admin.post("/admin/activate", json={"snapshot": second})).status_code == 200
            await asyncio.to_thread(running.everywhere, "/snapshot", lambda found: found["snapshot"] == second)
    assert load.failed == []
    assert load.snapshots == {first, second}
    assert load.asked > asked > 100

    snapshot = running.store.open(second)
    assert snapshot.user_row(FORGOTTEN) is None
    row = snapshot.user_row("newcomer")
    assert row is not None
    assert [snapshot.item_id(int(item)) for item in snapshot.history(row)] == clicked
    assert running.get("/recommend/newcomer").json()["strategy"] == "personalised"
    assert running.get("/recommend/u2").json()["events_used"] == 0  # the model knows by now


def test_metrics_add_up_over_workers(running: Running) -> None:
    sample = 'magnet_request_seconds_count{method="GET",route="/livez",status="200"} '

    def counted() -> float:
        lines = running.get("/metrics").text.splitlines()
        return sum(float(line.removeprefix(sample)) for line in lines if line.startswith(sample))

    before = counted()
    for _ in range(MEETINGS):
        running.get("/livez")
    assert counted() == before + MEETINGS


@asynccontextmanager
async def under_load(running: Running) -> AsyncIterator[Load]:
    """People who ask one question after the other, of every kind; each answer has to be whole and of one snapshot."""
    load, done = Load(), asyncio.Event()

    async def ask(number: int) -> None:
        async with httpx.AsyncClient(base_url=running.address, timeout=30) as client:
            while not done.is_set():
                user = f"u{(number + load.asked) % 60}"
                questions = (
                    client.get(f"/recommend/{user}", params={"k": 5, "offset": load.asked % 20}),
                    client.get(f"/recommend/{user}", params={"steer": "visual:2", "explain": "full"}),
                    client.post("/recommend/session", json={"items": ["i1", "i2"]}),
                    client.get("/similar/i3"),
                )
                for question in questions:
                    reply = await question
                    load.asked += 1
                    if reply.status_code != 200 or reply.headers["x-snapshot-id"] != reply.json()["snapshot"]:
                        load.failed.append(reply.text)
                    load.snapshots.add(reply.headers.get("x-snapshot-id", "none"))

    askers = [asyncio.create_task(ask(number)) for number in range(ASKERS)]
    try:
        yield load
    finally:
        done.set()
        await asyncio.gather(*askers)
