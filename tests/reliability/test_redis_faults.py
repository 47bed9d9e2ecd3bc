"""Redis stopped, paused, slow, full, restarted with its file and without, under load: answers right, none missing."""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from service.settings import Settings
from tests.reliability.conftest import READERS, Record, TwoSnapshots, loaded, two_snapshots
from tests.support.events import event, sent
from tests.support.load import Load
from tests.support.redis_server import RedisServer
from tests.support.service_client import on_a_port
from tests.support.slow_link import SlowLink

FAULT_SECONDS = 1.0
SLOWEST_SECONDS = 5.0
PATIENCE_SECONDS = 30.0
_numbers = itertools.count()


@dataclass(frozen=True)
class Running:
    """Two workers, and the Redis that they reach over a link."""

    address: str
    store: TwoSnapshots
    redis: RedisServer
    link: SlowLink
    settings: Settings

    def load(self, **options: Any) -> Load:
        """Readers and writers on it; the writers are new to the service, and so is what they have clicked."""
        newcomers = [f"newcomer {next(_numbers)}" for _ in range(6)]
        return Load(self.address, self.store.exact, READERS, newcomers, **options)

    def degraded(self) -> set[str]:
        """What `/readyz` of either worker says."""
        return {text for _ in range(8) for text in httpx.get(f"{self.address}/readyz", timeout=30).json()["degraded"]}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    store = two_snapshots(tmp_path_factory.mktemp("store"))
    redis = RedisServer(tmp_path_factory.mktemp("redis"))
    redis.start()
    link = SlowLink(redis.port)
    link.start()
    settings = Settings(store=store.root, redis_url=SecretStr(redis.url), state=tmp_path_factory.mktemp("out"))
    with on_a_port(store.root, workers=2, MAGNET_REDIS_URL=link.url, MAGNET_RATE_LIMIT="100000/second") as address:
        yield Running(address, store, redis, link, settings)
    link.stop()
    redis.stop()


def test_stopped(running: Running, record: Record) -> None:
    with loaded(running.load(), record, "Redis stopped", running.settings) as load:
        running.redis.stop()
        time.sleep(FAULT_SECONDS)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (load.tally.refused and load.tally.degraded):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        while not any("state store is unavailable" in text for text in running.degraded()):
            assert time.monotonic() < deadline
        running.redis.start()


@pytest.mark.slow
def test_paused(running: Running, record: Record) -> None:
    with loaded(running.load(), record, "Redis paused", running.settings) as load:
        running.redis.pause()
        time.sleep(2 * FAULT_SECONDS)
        running.redis.resume()
    assert load.tally.degraded > 0
    assert load.tally.quantile(0.99) < SLOWEST_SECONDS


@pytest.mark.slow
def test_slow(running: Running, record: Record) -> None:
    with loaded(running.load(), record, "Redis slow (0.3 s a reply)", running.settings):
        running.link.delay = 0.3
        time.sleep(FAULT_SECONDS)
        running.link.delay = 0.0


@pytest.mark.slow
def test_slower_than_its_timeout(running: Running, record: Record) -> None:
    with loaded(running.load(), record, "Redis slow (1.5 s a reply)", running.settings) as load:
        running.link.delay = 1.5
        time.sleep(2 * FAULT_SECONDS)
        running.link.delay = 0.0
        time.sleep(FAULT_SECONDS)
    assert load.tally.quantile(0.99) < SLOWEST_SECONDS


def test_full(running: Running, record: Record) -> None:
    fault = "Redis full (maxmemory)"
    with running.redis.client() as client, loaded(running.load(), record, fault, running.settings) as load:
        client.config_set("maxmemory", 1)
        time.sleep(FAULT_SECONDS)
        client.config_set("maxmemory", 0)
    assert load.tally.refused > 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGKILL])
def test_restarted_with_its_file(running: Running, record: Record, kind: signal.Signals) -> None:
    fault = f"Redis restarted with its append-only file ({kind.name})"
    with loaded(running.load(), record, fault, running.settings):
        running.redis.stop(kind)
        running.redis.start()


def test_restarted_empty(running: Running, record: Record) -> None:
    """What was acknowledged is lost with the disk, and said to be; what is acknowledged afterwards is kept."""
    httpx.post(f"{running.address}/events", json=sent(event("user/019", "item/001")), timeout=30).raise_for_status()
    load = Load(running.address, running.store.exact, READERS)
    with loaded(load, record, "Redis restarted empty", running.settings):
        running.redis.lose_everything()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not any("came back without its memory" in text for text in running.degraded()):
        assert time.monotonic() < deadline
    assert httpx.get(f"{running.address}/users/user%2F019", timeout=30).json()["history"] == []
    with loaded(running.load(), record, "… and used again", running.settings):
        pass
