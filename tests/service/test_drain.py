"""A service that is told to end finishes what was asked of it, and takes nothing new."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from service.state.embedded import EmbeddedState
from tests.support.events import event, sent
from tests.support.service_client import started

pytestmark = pytest.mark.anyio
PATIENCE_SECONDS = 15


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_request_under_way_is_answered_and_durable(workers: int, store_root: Path, tmp_path: Path) -> None:
    given = event("user/001", "item/001")
    body = json.dumps(sent(given)).encode()
    head = f"POST /events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with (
        started(store_root, workers=workers, MAGNET_STATE=str(tmp_path / "state")) as (address, process),
        socket.create_connection(("127.0.0.1", urlsplit(address).port or 0), timeout=PATIENCE_SECONDS) as connection,
    ):
        connection.sendall(head.encode() + body[:10])
        time.sleep(0.3)  # the worker has begun to read
        os.kill(process, signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while takes_connections(address):
            assert time.monotonic() < deadline, "it still takes new connections"
            time.sleep(0.05)
        connection.sendall(body[10:])
        answer = b"".join(iter(lambda: connection.recv(65536), b""))  # until the worker closes: it is on its way out
        assert answer.startswith(b"HTTP/1.1 200"), answer
        assert b'{"accepted":1,"duplicates":0}' in answer
    store = EmbeddedState(tmp_path / "state", shared=False)
    await store.start()
    assert [kept.event for kept in (await store.events_of("user/001")).events] == [given]
    await store.stop()


def takes_connections(address: str) -> bool:
    try:
        httpx.get(f"{address}/livez", timeout=1)
    except httpx.TransportError:
        return False
    return True
