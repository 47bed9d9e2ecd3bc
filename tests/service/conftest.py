"""A small store, and the service over it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from model_store.store import Store
from service.served import ServedSnapshot
from tests.support.redis_server import RedisServer
from tests.support.service_client import ServiceClient, in_process, promoted
from tests.support.tiny_snapshot import write_tiny_pair_snapshot

N_USERS = 20
N_ITEMS = 300


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A server of the test's own."""
    server = RedisServer(tmp_path / "redis")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def store_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that tests only read: one snapshot, promoted."""
    root = tmp_path_factory.mktemp("store")
    promoted(root, write_tiny_pair_snapshot(root, n_users=N_USERS, n_items=N_ITEMS))
    return root


@pytest.fixture(scope="session")
def served(store_root: Path) -> ServedSnapshot:
    return ServedSnapshot(Store(store_root).open())


@pytest.fixture
async def client(store_root: Path, tmp_path: Path) -> AsyncIterator[ServiceClient]:
    """The service over that store, with a state of its own."""
    async with in_process(store_root, state=tmp_path / "state") as client:
        yield client
