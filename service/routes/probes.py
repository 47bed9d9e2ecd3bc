"""Probes: alive, ready, and what is degraded."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse

from service.errors import NotReady, documented
from service.routes.context import Served, ServiceParts
from service.schemas.lookups import Health
from service.telemetry import CONTENT_TYPE

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
    encoders = {"user_encoder": served.user_encoder, "item_encoder": service.catalogue.encoder(served)}
    return {
        "status": status,
        "snapshot": served.id,
        "index": served.index_name,
        "onnx": {name: encoder.provider for name, encoder in encoders.items() if encoder and encoder.provider},
        "degraded": degraded,
    }


@router.get("/metrics", response_class=PlainTextResponse, summary="Prometheus metrics")
async def metrics(service: ServiceParts) -> Response:
    """What was counted and timed, of all workers of this host."""
    return Response(await asyncio.to_thread(service.metrics.text), media_type=CONTENT_TYPE)
