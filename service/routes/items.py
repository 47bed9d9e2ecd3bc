"""Changing the catalogue while it is served."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
from fastapi import APIRouter

from model_store.errors import EncoderError, PictureError, StoreError
from model_store.media import add_picture
from service.content import ItemContent
from service.errors import InvalidRequest, NotReady, StateUnavailable, StoreUnavailable, documented
from service.routes.context import Served, ServiceParts
from service.routes.ids import ItemId
from service.schemas.bodies import Hidden, PutDone, PutItem
from service.served import ServedSnapshot

router = APIRouter(tags=["catalogue"])


@router.put(
    "/items/{item_id:id}",
    response_model=PutDone,
    summary="Add or change an item",
    responses=documented(InvalidRequest, NotReady, StateUnavailable, StoreUnavailable),
)
async def put(service: ServiceParts, served: Served, item_id: ItemId, given: PutItem) -> dict[str, Any]:
    """Add an item, from feature vectors or from text and a picture, which the training's own encoders turn into them.

    It can be recommended in this worker's next answer and within a second by every other. What people would do with it
    is inferred from the items it resembles, and explanations say so; where the model has no encoder of items, all else
    is, too. For an item of the snapshot the title, categories, description and picture change at once, its scores with
    the next snapshot. A hidden item comes back.
    """
    async with service.picture_turn if given.image is not None else nullcontext():
        content = await asyncio.to_thread(partial(_content, service, served, given))
    await service.mirror.put_item(item_id, content.write())
    await service.catalogue.refresh()
    view = service.catalogue.view(served)
    row = view.item_row(item_id)
    return {
        "item": item_id,
        "snapshot": served.id,
        "recommendable": row is not None,
        "modalities": dict(zip(served.modalities, view.present(row), strict=True)) if row is not None else {},
        "inferred": view.inferred(row) if row is not None else [],
    }


@router.delete(
    "/items/{item_id:id}",
    response_model=Hidden,
    summary="Hide an item",
    responses=documented(InvalidRequest, StateUnavailable),
)
async def hide(service: ServiceParts, item_id: ItemId) -> dict[str, Any]:
    """Hide an item, durably and for every worker within a second; it comes back when it is put again."""
    await service.mirror.hide_item(item_id)
    await service.catalogue.refresh()
    return {"item": item_id, "hidden": True}


def _content(service: ServiceParts, served: ServedSnapshot, given: PutItem) -> ItemContent:
    """What is kept of the item. Raises `InvalidRequest`, `StoreUnavailable`."""
    features = {name: _vector(served, name, values) for name, values in given.features.items()}
    texts = (given.title, tuple(given.categories), given.description)
    try:
        made = service.encoders.encode(
            tuple(modality for modality in served.manifest.modalities if modality.name not in features),
            title=texts[0],
            categories=texts[1],
            description=texts[2],
            picture=given.image,
        )
        image = None if given.image is None else add_picture(service.settings.store, given.image, for_good=True)
    except PictureError as error:
        raise InvalidRequest(f"image: {error}") from error
    except (EncoderError, StoreError) as error:
        raise StoreUnavailable(str(error)) from error
    return ItemContent(*texts, image, made | features)


def _vector(served: ServedSnapshot, name: str, values: list[float]) -> np.ndarray[Any, np.dtype[np.float32]]:
    widths = {m.name: m.feature_width for m in served.manifest.modalities if m.kind == "content"}
    if name not in widths:
        raise InvalidRequest(f"features: expected modalities among {sorted(widths)}, found {name!r}")
    if len(values) != widths[name]:
        raise InvalidRequest(f"features.{name}: expected {widths[name]} numbers, found {len(values)}")
    if max(map(abs, values), default=0.0) > float(np.finfo(np.float32).max):
        raise InvalidRequest(f"features.{name}: expected numbers that fit single precision")
    return np.asarray(values, np.float32)
