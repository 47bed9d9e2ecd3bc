"""Probes: alive, ready, and what is degraded."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from service.errors import NotReady, documented
from service.routes.context import Served, ServiceParts
from service.schemas.lookups import Health

router = APIRouter(tags=["probes"])


@router.get("/livez", response_model=Health)
async def livez() -> dict[str, Any]:
    """The process answers."""
    return {"status": "alive"}


@router.get("/readyz", response_model=Health, responses=documented(NotReady))
async def readyz(service: ServiceParts, served: Served) -> dict[str, Any]:
    """A snapshot is loaded and warm. Stays ready while something is merely degraded, and says what."""
    degraded = service.degraded()
    status = "degraded" if degraded else "ready"
    return {"status": status, "snapshot": served.id, "index": served.index_name, "degraded": degraded}
