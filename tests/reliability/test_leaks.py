"""What is no longer served leaves memory at once, maps and index with it, whenever the collector may come by."""

from __future__ import annotations

import gc
import os
import weakref

import pytest

from tests.reliability.conftest import TwoSnapshots
from tests.support.processes import descriptors
from tests.support.service_client import in_process

pytestmark = pytest.mark.anyio


async def test_a_swapped_out_snapshot_is_let_go_without_a_collection(store: TwoSnapshots) -> None:
    async with in_process(store.root, admin_key="admin") as client:
        gc.disable()
        try:
            opened, loaded = [], []
            for number in range(8):
                wanted = (store.second, store.first)[number % 2]
                reply = await client.post("/admin/activate", json={"snapshot": wanted}, headers={"X-API-Key": "admin"})
                assert reply.status_code == 200
                for path in ("/recommend/user%2F001", "/recommend/user%2F001?category=red", "/similar/item%2F001"):
                    assert (await client.get(path)).status_code == 200
                opened.append(descriptors(os.getpid()))
                loaded.append(weakref.ref(client.service.deployment.require().snapshot))
        finally:
            gc.enable()
        assert opened[-1] == opened[-3], opened
        assert [snapshot() is not None for snapshot in loaded] == [False] * 6 + [True] * 2, "served, and the one before"
