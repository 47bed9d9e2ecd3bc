"""Admin calls: which snapshot is served. They need the admin key."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from fastapi import APIRouter

from model_store.errors import SnapshotNotFound, StoreBusy, StoreError, StoreFull, StoreUnusable
from service.errors import (
    AdminKeyRequired,
    InvalidRequest,
    SnapshotRefused,
    StoreUnavailable,
    UnknownSnapshot,
    documented,
)
from service.routes.context import ServiceParts
from service.schemas.bodies import Activated, Activation

router = APIRouter(tags=["admin"])
FAILURES = documented(AdminKeyRequired, UnknownSnapshot, SnapshotRefused, InvalidRequest, StoreUnavailable)


@router.post("/admin/activate", response_model=Activated, summary="Serve another snapshot", responses=FAILURES)
async def activate(service: ServiceParts, wanted: Activation) -> dict[str, Any]:
    """Load, check and warm up a snapshot beside the one that is served, move the store's pointer, then swap.

    No request fails meanwhile. A snapshot that is not sound is refused, and nothing has moved.
    """
    return await _moved(service, service.watcher.activate(wanted.snapshot))


@router.post("/admin/rollback", response_model=Activated, summary="Serve the snapshot before", responses=FAILURES)
async def rollback(service: ServiceParts) -> dict[str, Any]:
    """Move the store's pointer back to the snapshot that was current before, and serve that one."""
    return await _moved(service, service.watcher.rollback())


async def _moved(service: ServiceParts, moving: Awaitable[None]) -> dict[str, Any]:
    before = service.deployment.active
    try:
        await moving
    except SnapshotNotFound as error:
        raise UnknownSnapshot(str(error)) from error
    except (StoreBusy, StoreFull, StoreUnusable) as error:
        raise StoreUnavailable(str(error)) from error
    except StoreError as error:
        raise SnapshotRefused(str(error)) from error
    after = service.deployment.require()
    return {"snapshot": after.id, "previous": before.id if before is not None else None}
