"""The clock is set back by a day and forward again under load: nothing waits for yesterday's tomorrow."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from service.settings import Settings
from tests.reliability.conftest import READERS, WRITERS, Record, TwoSnapshots, loaded
from tests.support.load import Load
from tests.support.redis_server import RedisServer
from tests.support.service_client import in_process, started

LIBRARIES = "faketime/libfaketime.so.1"


def faketime() -> Path:
    """The library that changes what a process takes for the time."""
    found = sorted(Path("/usr/lib").glob(f"*/{LIBRARIES}"))
    if not found:
        pytest.skip("faketime is not installed: run tests/support/install-test-needs")
    return found[0]


@pytest.mark.slow
def test_set_back_and_forward(store: TwoSnapshots, tmp_path: Path, record: Record) -> None:
    offset = tmp_path / "offset"
    offset.write_text("+0\n")
    settings = Settings(store=store.root, state=tmp_path / "state")
    environment: dict[str, Any] = {
        "LD_PRELOAD": str(faketime()),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "MAGNET_STATE": str(settings.state),
        "MAGNET_RATE_LIMIT": "2000/second",
    }
    with started(store.root, **environment) as (address, _):
        load = Load(address, store.exact, READERS, WRITERS)
        with loaded(load, record, "clock set back by a day, and forward", settings):
            for step in ("-1d\n", "+0\n", "-1d\n"):
                offset.write_text(step)
                time.sleep(1.6)  # the library looks at the file once a second


@pytest.mark.anyio
async def test_a_clock_set_back_does_not_close_the_door(
    store: TwoSnapshots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls of a time to come, counted in Redis by the wall's clock, would keep their caller out until it has come.

    A worker's own counter asks a clock that nobody sets.
    """
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    redis = RedisServer(tmp_path / "redis")
    redis.start()
    try:
        async with (
            in_process(store.root, rate_limit="3/minute", redis_url=redis.url) as shared,
            in_process(store.root, rate_limit="3/minute", state=tmp_path / "state") as own,
        ):
            for client in (shared, own):
                assert [(await client.get("/experts")).status_code for _ in range(4)] == [200, 200, 200, 429]
            now -= 86400
            assert [(await shared.get("/experts")).status_code for _ in range(4)] == [200, 200, 200, 429]
            assert 1 <= int((await own.get("/experts")).headers["retry-after"]) <= 60
    finally:
        redis.stop()
