"""A service in this process with a client that calls it, and a real one on a port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from fastapi import FastAPI

from model_store.store import Store
from service.app import create_app
from service.service import Service
from service.settings import Settings

START_SECONDS = 90


class ServiceClient(httpx.AsyncClient):
    """Calls the application `app` directly; `service` are the parts behind it."""

    app: FastAPI
    service: Service

    async def json(self, path: str, status: int = 200, **params: Any) -> Any:
        """The document at `path`; fails unless the status is the expected one."""
        response = await self.get(path, params=params or None)
        assert response.status_code == status, response.text
        return response.json()

    async def recommend(self, user_id: str, **params: Any) -> Any:
        """The answer for a user."""
        return await self.json(f"/recommend/{quote(user_id, safe='')}", **params)


@asynccontextmanager
async def in_process(root: Path, **settings: Any) -> AsyncIterator[ServiceClient]:
    """The service over the store at `root`, its first snapshot loaded where there is one.

    It follows neither the store nor the state by itself: tests say when (`watcher.catch_up`, `service.catch_up`).
    """
    app = create_app(Settings(store=root, snapshot_poll_seconds=3600, **settings))
    service: Service = app.state.service
    await service.start()
    await service.stop_following()
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    try:
        async with ServiceClient(transport=transport, base_url="http://service") as client:
            client.app, client.service = app, service
            yield client
    finally:
        await service.stop()


def promoted(root: Path, snapshot_id: str) -> str:
    """Make a published snapshot the current one; its id."""
    Store(root).promote(snapshot_id)
    return snapshot_id


def free_port() -> int:
    """A port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def on_a_port(root: Path, *, workers: int = 1, **environment: str) -> Iterator[str]:
    """`magnet-serve` as people start it; yields its address once it is ready, and expects a clean end on SIGTERM."""
    with started(root, workers=workers, **environment) as (address, _):
        yield address


@contextmanager
def started(root: Path, *, workers: int = 1, **environment: str) -> Iterator[tuple[str, int]]:
    """As `on_a_port`, with the id of the process whose children are the workers where there are several."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "service.cli",
        "--store",
        str(root),
        "--port",
        str(port),
        "--workers",
        str(workers),
    ]
    with subprocess.Popen(command, env=os.environ | environment) as process:
        address = f"http://127.0.0.1:{port}"
        try:
            wait_until_ready(address, process)
            yield address, process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                status = process.wait(timeout=START_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        assert status == 0


def wait_until_ready(address: str, process: subprocess.Popen[bytes]) -> None:
    """Wait for `/readyz`; fails if the process ends or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"the service ended with status {process.returncode}")
        try:
            if httpx.get(f"{address}/readyz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"the service was not ready within {START_SECONDS} s")
