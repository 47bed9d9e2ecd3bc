"""`GET /similar/{item_id}`: an item's neighbours, overall or by one modality."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query

from service.errors import InvalidRequest, NotReady, UnknownItem, documented
from service.routes.context import Served, ServiceParts
from service.routes.ids import ItemId
from service.schemas.lookups import Similar
from service.schemas.queries import SimilarQuery
from service.similarity import neighbours

router = APIRouter(tags=["recommend"])


@router.get(
    "/similar/{item_id:id}",
    response_model=Similar,
    summary="Find similar items",
    responses=documented(UnknownItem, InvalidRequest, NotReady),
)
async def similar(
    service: ServiceParts,
    served: Served,
    item_id: ItemId,
    asked: Annotated[SimilarQuery, Query()],
) -> dict[str, Any]:
    """The items most like this one: by everything the model knows, or by one modality alone.

    `overall` compares the items' vectors (where the model has none, the modalities' neighbours); a modality reads the
    neighbours that the snapshot holds for it, of which there are ten. An item without that modality has none.
    """
    row = service.recommender.item_row(served, item_id)
    view = service.catalogue.view(served)
    work = partial(neighbours, view, row, asked.by, asked.k)
    rows, likeness = await service.workbench.run("similar", work)
    items = []
    for place, (neighbour, value) in enumerate(zip(rows.tolist(), likeness.tolist(), strict=True)):
        display = view.display(neighbour)
        items.append(
            {
                "item": display.item_id,
                "rank": place + 1,
                "similarity": round(value, 6),
                "title": display.title,
                "image": display.image,
            }
        )
    return {"item": item_id, "snapshot": served.id, "by": asked.by, "complete": len(items) == asked.k, "items": items}
