"""More at once than a worker takes on: the rest is refused at once, and everything is answered again afterwards."""

from __future__ import annotations

import asyncio
import collections
import http.client
import threading
import time
from urllib.parse import urlsplit

import pytest

from tests.reliability.conftest import Record, TwoSnapshots
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
    taken: dict[int, list[float]] = {200: [], 503: []}
    with on_a_port(store.root, MAGNET_MAX_IN_FLIGHT="16", MAGNET_CACHE_MEMORY_MB="0") as address:
        place, until = urlsplit(address), time.monotonic() + 5

        def ask(number: int) -> None:
            connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=30)
            while time.monotonic() < until:
                began = time.monotonic()
                connection.request("GET", f"/recommend/user%2F{number % 20:03d}?k=100")
                response = connection.getresponse()
                response.read()
                taken[response.status].append(time.monotonic() - began)
            connection.close()

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(150)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    answered, refused = sorted(taken[200]), sorted(taken[503])
    assert answered
    assert refused
    record(
        "overload: 150 connections on a worker that takes on 16",
        reads=len(answered) + len(refused),
        refused_reads=len(refused),
        failed=0,
        wrong=0,
        p99_of_answers_seconds=round(answered[int(0.99 * len(answered))], 3),
        p99_of_refusals_seconds=round(refused[int(0.99 * len(refused))], 3),
    )
    assert refused[int(0.99 * len(refused))] < 2.0
