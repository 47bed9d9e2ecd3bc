"""Snapshots change under way: every answer comes from one of them, none fails, and bad ones are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_store.store import Store
from tests.support.service_client import in_process, promoted
from tests.support.tiny_snapshot import write_tiny_pair_snapshot

pytestmark = pytest.mark.anyio
ADMIN = {"X-API-Key": "admin"}


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, str, str]:
    """A store with two snapshots, the first one promoted."""
    first, second = [write_tiny_pair_snapshot(tmp_path, seed=seed, n_items=120) for seed in (0, 1)]
    return tmp_path, promoted(tmp_path, first), second


async def test_before_the_first_snapshot_only_the_process_is_alive(tmp_path: Path) -> None:
    async with in_process(tmp_path / "nothing") as client:
        for path in ("/recommend/u", "/experts", "/readyz", "/snapshot"):
            reply = await client.get(path)
            assert (reply.status_code, reply.headers["retry-after"]) == (503, "2")
            assert "x-snapshot-id" not in reply.headers
        assert (await client.get("/livez")).status_code == 200


async def test_the_pointer_is_followed(two: tuple[Path, str, str]) -> None:
    root, first, second = two
    async with in_process(root) as client:
        assert (await client.recommend("user/001"))["snapshot"] == first
        promoted(root, second)
        await client.service.watcher.catch_up()
        reply = await client.get("/recommend/user%2F001")
        assert (reply.json()["snapshot"], reply.headers["x-snapshot-id"]) == (second, second)


async def test_a_page_of_a_worker_that_swapped_first_is_followed(two: tuple[Path, str, str]) -> None:
    root, first, second = two
    async with in_process(root) as ahead, in_process(root) as behind:
        promoted(root, second)
        await ahead.service.watcher.catch_up()
        page = await ahead.recommend("user/001", k=3)
        assert (await behind.recommend("user/001"))["snapshot"] == first
        following = await behind.json(page["next"])
        assert (following["snapshot"], following["items"][0]["rank"]) == (second, 4)
        await behind.json(page["next"].replace(second, "0" * 32), 410)


async def test_a_damaged_snapshot_is_refused_and_reported(two: tuple[Path, str, str]) -> None:
    root, first, second = two
    async with in_process(root) as client:
        promoted(root, second)
        damage(root, second)
        await client.service.watcher.catch_up()
        assert (await client.recommend("user/001"))["snapshot"] == first
        ready = await client.json("/readyz")
        assert ready["status"] == "degraded"
        assert f"snapshot {second} was refused" in ready["degraded"][0]
        promoted(root, first)
        await client.service.watcher.catch_up()
        assert (await client.json("/readyz"))["status"] == "ready"


async def test_admin_calls_move_the_pointer(two: tuple[Path, str, str]) -> None:
    root, first, second = two
    async with in_process(root, admin_key="admin") as client:
        reply = await client.post("/admin/activate", json={"snapshot": second}, headers=ADMIN)
        assert reply.json() == {"snapshot": second, "previous": first}
        assert Store(root).current() == second
        assert (await client.recommend("user/001"))["snapshot"] == second
        reply = await client.post("/admin/rollback", headers=ADMIN)
        assert reply.json() == {"snapshot": first, "previous": second}
        assert Store(root).current() == first
        assert (await client.post("/admin/rollback", headers=ADMIN)).status_code == 404


async def test_admin_calls_refuse_what_is_not_sound(two: tuple[Path, str, str]) -> None:
    root, first, second = two
    damage(root, second)
    async with in_process(root, admin_key="admin") as client:
        for wanted, status, slug in (
            (second, 409, "snapshot-refused"),
            ("0" * 32, 404, "unknown-snapshot"),
            ("../x", 404, "unknown-snapshot"),
        ):
            reply = await client.post("/admin/activate", json={"snapshot": wanted}, headers=ADMIN)
            assert (reply.status_code, reply.json()["type"]) == (status, f"urn:problem-type:magnet:{slug}")
        assert Store(root).current() == first
        assert (await client.recommend("user/001"))["snapshot"] == first


def damage(root: Path, snapshot_id: str) -> None:
    """Flip one bit of an array."""
    path = root / "snapshots" / snapshot_id / "arrays" / "item_parts.npy"
    path.chmod(0o600)
    content = bytearray(path.read_bytes())
    content[-10] ^= 1
    path.write_bytes(content)
