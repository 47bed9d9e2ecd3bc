"""Metrics count what happened, logs say it in JSON."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from service.logs import JsonFormatter, request_id
from service.telemetry import SHARED_FILES, shared_among_workers
from tests.support.events import event, sent
from tests.support.service_client import ServiceClient, in_process

pytestmark = pytest.mark.anyio


async def value(client: ServiceClient, sample: str) -> float:
    """One sample of the metrics; 0 where it is not there yet."""
    lines = (await client.get("/metrics")).text.splitlines()
    return next((float(line.removeprefix(sample)) for line in lines if line.startswith(f"{sample} ")), 0.0)


async def test_requests_are_timed_by_route_and_status(client: ServiceClient) -> None:
    for path in ("/recommend/a?k=1", "/recommend/b%2Fc?k=1", "/recommend/a?k=0", "/nothing"):
        await client.get(path)
    count = 'magnet_request_seconds_count{method="GET",route="%s",status="%s"}'
    assert await value(client, count % ("/recommend/{user_id}", 200)) == 2
    assert await value(client, count % ("/recommend/{user_id}", 422)) == 1
    assert await value(client, count % ("unknown", 404)) == 1
    assert await value(client, 'magnet_answers_total{strategy="popular"}') == 2
    assert await value(client, "magnet_candidates_count") == 2
    text = (await client.get("/metrics")).text
    assert sum(f'le="{bound}"' in text for bound in ("0.0005", "0.001", "0.002", "0.003", "0.005")) == 5


async def test_answers_that_were_made_before_are_counted_too(client: ServiceClient) -> None:
    for _ in range(3):
        await client.get("/recommend/a?k=500")
    assert await value(client, 'magnet_answers_total{strategy="popular"}') == 3
    assert await value(client, "magnet_answers_incomplete_total") == 3
    assert await value(client, "magnet_candidates_count") == 2  # the first time the events were not in memory yet


async def test_events_snapshots_and_degradation_are_counted(store_root: Path, tmp_path: Path) -> None:
    async with in_process(store_root, state=tmp_path / "state") as client:
        body = sent(event("u", "i"), event("u", "j"))
        await client.post("/events", json=body)
        await client.post("/events", json=body)
        assert await value(client, 'magnet_events_total{outcome="accepted"}') == 2
        assert await value(client, 'magnet_events_total{outcome="duplicate"}') == 2
        assert await value(client, 'magnet_snapshot_swaps_total{outcome="served"}') == 1
        await client.service.catch_up()
        assert await value(client, 'magnet_degraded{part="state"}') == 0
        client.service.mirror.failure = "pulled"
        client.service.watcher.refused = ("x", "broken")
        client.service.metrics.degraded(["state", "snapshot"])
        assert await value(client, 'magnet_degraded{part="state"}') == 1
        assert await value(client, 'magnet_degraded{part="snapshot"}') == 1
        client.service.mirror.failure = None


def test_the_folder_that_workers_count_into_is_gone_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SHARED_FILES, "restored")
    with suppress(SystemExit), shared_among_workers():
        folder = Path(os.environ[SHARED_FILES])
        (folder / "counter_1.db").write_bytes(b"")
        sys.exit(0)  # as a signal ends the service
    assert not folder.exists()


def test_log_lines_are_json_whatever_they_say() -> None:
    token = request_id.set("r-1")
    try:
        record = logging.LogRecord("magnet.x", logging.WARNING, "", 0, 'user %r\n{"forged": 1}', ("a\nb",), None)
        line = JsonFormatter().format(record)
    finally:
        request_id.reset(token)
    assert "\n" not in line
    found = json.loads(line)
    assert (found["level"], found["logger"], found["request_id"]) == ("warning", "magnet.x", "r-1")
    assert found["message"] == "user 'a\\nb'\n{\"forged\": 1}"


WORKER = """
from service.telemetry import Metrics
metrics = Metrics()
metrics.degraded(["state"] if {failing} else [])
metrics.events(accepted=2, duplicates=0)
if {shows}:
    print(metrics.text().decode())
"""


def test_what_a_dead_worker_suffered_from_is_over_and_what_it_counted_stays(tmp_path: Path) -> None:
    shown = ""
    for failing, shows in ((True, False), (False, True)):
        command = [sys.executable, "-c", WORKER.format(failing=failing, shows=shows)]
        environment = os.environ | {SHARED_FILES: str(tmp_path), "PYTHONPATH": str(Path.cwd())}
        shown = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    assert 'magnet_degraded{part="state"} 0.0' in shown
    assert 'magnet_events_total{outcome="accepted"} 4.0' in shown


SWAPPER = """
from service.telemetry import Metrics
metrics = Metrics()
for number, snapshot in enumerate(["a", "b", "a", "c"]):
    metrics.swapped(snapshot, 10.0, 20.0 + number)
print(metrics.text().decode())
"""


@pytest.mark.parametrize("shared", [False, True])
def test_only_the_snapshot_that_is_served_is_named(shared: bool, tmp_path: Path) -> None:
    """An alert counts them: of replicas that serve different ones."""
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())} | ({SHARED_FILES: str(tmp_path)} if shared else {})
    command = [sys.executable, "-c", SWAPPER]
    shown = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    named = [line for line in shown.splitlines() if line.startswith("magnet_snapshot_") and "timestamp" in line]
    assert named == [
        'magnet_snapshot_loaded_timestamp_seconds{snapshot="c"} 23.0',
        'magnet_snapshot_created_timestamp_seconds{snapshot="c"} 10.0',
    ]
