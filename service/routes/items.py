"""Changing the catalogue while it is served."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path

from service.errors import InvalidRequest, StateUnavailable, documented
from service.routes.context import ServiceParts
from service.schemas.bodies import Hidden
from service.schemas.queries import Id

router = APIRouter(tags=["catalogue"])


@router.delete(
    "/items/{item_id:path}",
    response_model=Hidden,
    summary="Hide an item",
    responses=documented(InvalidRequest, StateUnavailable),
)
async def hide(service: ServiceParts, item_id: Annotated[Id, Path(examples=["item-7"])]) -> dict[str, Any]:
    """Hide an item, durably and for every worker within a second; it comes back when it is put again."""
    await service.mirror.hide_item(item_id)
    return {"item": item_id, "hidden": True}
