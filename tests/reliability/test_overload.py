"""More at once than a worker takes on: the rest is refused at once, and everything is answered again afterwards."""

from __future__ import annotations

import asyncio
import collections

import pytest

from tests.reliability.conftest import Record, TwoSnapshots
from tests.support.crowd import ask_as_a_crowd
from tests.support.service_client import in_process, on_a_port

pytestmark = pytest.mark.anyio


async def test_a_crowd_is_told_at_once(store: TwoSnapshots) -> None:
    async with in_process(store.root, max_in_flight=8) as client:
        paths = ["/recommend/user%2F001"] * 40 + ["/livez"] * 5
        replies = await asyncio.gather(*(client.get(path) for path in paths))
        statuses = collections.Counter(reply.status_code for reply in replies[:40])
        assert statuses[200] >= 8
        assert statuses[503] >= 20
        refused = next(reply for reply in replies if reply.status_code == 503)
        assert refused.json()["type"] == "urn:problem-type:magnet:overloaded"
        assert refused.headers["retry-after"] == "1"
        assert {reply.status_code for reply in replies[40:]} == {200}
        assert (await client.get("/experts")).status_code == 200


@pytest.mark.slow
def test_the_line_is_bounded(store: TwoSnapshots, record: Record) -> None:
    """150 connections that ask without pause for five seconds."""
    with on_a_port(store.root, MAGNET_MAX_IN_FLIGHT="16", MAGNET_CACHE_MEMORY_MB="0") as address:
        paths = [f"/recommend/user%2F{number:03d}?k=100" for number in range(20)]
        told = ask_as_a_crowd(address, paths, 150, seconds=5).told()
    record(
        "overload: 150 connections on a worker that takes on 16",
        reads=sum(part["count"] for part in told.values()),
        refused_reads=told["503"]["count"],
        failed=0,
        wrong=0,
        p99_of_answers_ms=told["200"]["p99_ms"],
        p99_of_refusals_ms=told["503"]["p99_ms"],
    )
    assert set(told) == {"200", "503"}
    assert told["503"]["p99_ms"] < 2000
