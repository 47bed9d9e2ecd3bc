"""Look-ups: items, users and pictures."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import FileResponse

from model_store.media import CONTENT_TYPE, media_path
from service.errors import (
    InvalidRequest,
    NotReady,
    StateUnavailable,
    UnknownItem,
    UnknownPicture,
    UnknownUser,
    documented,
)
from service.routes.context import Served, ServiceParts
from service.routes.ids import ItemId, UserId
from service.schemas.lookups import ItemDetails, Items, UserDetails, Users
from service.schemas.queries import SearchQuery
from service.search import find_items, find_users
from service.view import View

router = APIRouter(tags=["look-ups"])
PICTURES_KEPT = "public, max-age=31536000, immutable"


@router.get("/items", response_model=Items, responses=documented(InvalidRequest, NotReady))
async def items(service: ServiceParts, served: Served, search: Annotated[SearchQuery, Query()]) -> dict[str, Any]:
    """Items whose id or title contains the query."""
    view = service.catalogue.view(served)
    rows = await service.workbench.run("find items", partial(find_items, view, search.query, search.limit))
    return {"items": [_item(view, row) for row in rows]}


@router.get(
    "/items/{item_id:id}", response_model=ItemDetails, responses=documented(UnknownItem, InvalidRequest, NotReady)
)
async def item(service: ServiceParts, served: Served, item_id: ItemId) -> dict[str, Any]:
    """One item."""
    row = service.recommender.item_row(served, item_id)
    view, known = service.catalogue.view(served), row < served.n_items
    return {
        **_item(view, row),
        "snapshot": served.id,
        "popularity": float(served.popularity[row]) if known else 0.0,
        "interactions": int(served.snapshot.array("item_degree")[row]) if known else 0,
        "modalities": dict(zip(served.modalities, view.present(row), strict=True)),
    }


@router.get("/users", response_model=Users, responses=documented(InvalidRequest, NotReady))
async def users(service: ServiceParts, served: Served, search: Annotated[SearchQuery, Query()]) -> dict[str, Any]:
    """Users whose id begins with the query, in alphabetical order.

    They are those of the snapshot, without those who were forgotten.
    """
    work = partial(find_users, served, service.mirror.is_forgotten, search.query, search.limit)
    return {"users": await service.workbench.run("find users", work)}


@router.get(
    "/users/{user_id:id}",
    response_model=UserDetails,
    responses=documented(UnknownUser, InvalidRequest, NotReady, StateUnavailable),
)
async def user(service: ServiceParts, served: Served, user_id: UserId) -> dict[str, Any]:
    """One user's history."""
    asker = await service.recommender.known(served, user_id)
    view, rows = service.catalogue.view(served), asker.history_rows[::-1].tolist()
    kind = f"history {len(rows).bit_length()}"
    return {
        "user": user_id,
        "snapshot": served.id,
        "known_to_snapshot": served.snapshot.user_row(user_id) is not None,
        "history": await service.workbench.run(kind, lambda: [_item(view, row) for row in rows]),
    }


@router.get(
    "/media/{media_hash}",
    response_class=FileResponse,
    responses=documented(UnknownPicture, InvalidRequest) | {200: {"content": {CONTENT_TYPE: {}}}},
)
async def media(
    service: ServiceParts, media_hash: Annotated[str, Path(max_length=128, description="As in `image`.")]
) -> FileResponse:
    """A picture by its hash; it never changes, so it may be cached for good."""
    path = media_path(service.settings.store, media_hash)
    if path is None:
        raise UnknownPicture(f"no picture {media_hash!r}")
    return FileResponse(path, media_type=CONTENT_TYPE, headers={"Cache-Control": PICTURES_KEPT})


def _item(view: View, row: int) -> dict[str, Any]:
    info = view.info(row)
    return {
        "item": info.item_id,
        "title": info.title,
        "categories": list(info.categories),
        "description": info.description,
        "image": info.image,
    }
