"""`magnet-serve export-events` writes what the trainer reads, from either state."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import service.event_export
from model_store.events import Event, Forgotten, read_events
from service.cli import main
from service.state.embedded import EmbeddedState
from service.state.protocol import StateStore
from service.state.redis import RedisState
from tests.support.events import event
from tests.support.redis_server import RedisServer


def export(*arguments: str | Path, **environment: str) -> Result:
    return CliRunner().invoke(main, ["export-events", *map(str, arguments)], env=environment)


def fill(store: StateStore, events: Sequence[Event], forgotten: str) -> None:
    async def work() -> None:
        await store.start()
        await store.append(events)
        await store.forget(forgotten)
        await store.stop()

    asyncio.run(work())


EVENTS = [event("a", "i/1"), event("gone", "i2"), event("ü", "i3", "rating", value=4.0), event("a", "i1", "hide")]
LEFT = [*(kept for kept in EVENTS if kept.user != "gone"), Forgotten(forgotten="gone")]


def test_from_the_embedded_state_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.event_export, "BLOCK", 2)
    fill(EmbeddedState(tmp_path / "store" / "state", shared=False), EVENTS, "gone")
    result = export("--store", tmp_path / "store", "--out", tmp_path / "events.jsonl")
    assert result.exit_code == 0, result.output
    assert result.output.startswith("3 events, 1 forgotten users")
    assert list(read_events(tmp_path / "events.jsonl")) == LEFT


def test_from_redis(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis")
    server.start()
    try:
        fill(RedisState(server.url), EVENTS, "gone")
        result = export("--out", tmp_path / "events.jsonl", MAGNET_REDIS_URL=server.url)
        assert result.exit_code == 0, result.output
        assert list(read_events(tmp_path / "events.jsonl")) == LEFT
    finally:
        server.stop()
    again = export("--out", tmp_path / "events.jsonl", MAGNET_REDIS_URL=server.url)
    assert again.exit_code == 1
    assert "redis" in again.output
    assert list(read_events(tmp_path / "events.jsonl")) == LEFT  # what was there stays


def test_where_there_is_no_state_none_is_made(tmp_path: Path) -> None:
    result = export("--store", tmp_path / "store", "--out", tmp_path / "events.jsonl")
    assert result.exit_code == 1
    assert "expected the state of a service" in result.output
    assert list(tmp_path.iterdir()) == []
