"""`GET /recommend/{user_id}`, `POST /recommend` and `POST /recommend/session`."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated

import orjson
from fastapi import APIRouter, Query, Request, Response

from model_store.events import check_id
from service.errors import Expired, InvalidRequest, NotReady, documented
from service.pins import Pin
from service.recommender import Answer as Ranked
from service.rendering import render
from service.routes.context import Served, ServiceParts, context_of, served_by, service_of
from service.routes.ids import UserId
from service.routes.lean import JsonBytes, LeanRoute
from service.schemas.answers import Answer
from service.schemas.bodies import Answers, ManyUsers, Session
from service.schemas.queries import RankingQuery, RecommendQuery
from service.service import Service

QUICK_ITEMS = 100
router = APIRouter(tags=["recommend"])


async def recommend(
    request: Request,
    user_id: UserId,
    wish: Annotated[RecommendQuery, Query()],
) -> Response:
    """The best items for a user, each with the exact share of its score that every expert contributed.

    A user without a history, known or not, gets popular items; that is an answer, never an error.
    """
    try:
        check_id(user_id)
    except ValueError as error:
        raise InvalidRequest(f"user_id: {error}") from error
    service = service_of(request)
    served, pin = served_by(request), None
    if wish.at is not None:
        pin = Pin.parse(wish.at)
        served = context_of(request).served = await service.pinned(pin.snapshot_id)
    key = service.prepared.key(served, user_id, request.scope["query_string"])
    body = service.prepared.find(key)
    if body is None:
        answer = await service.recommender.recommend(served, user_id, wish, pin)
        body = await _rendered(service, answer, wish)
        service.prepared.keep(key, body, answer)
    return JsonBytes(body)


router.add_api_route(
    "/recommend/{user_id:id}",
    recommend,
    methods=["GET"],
    response_model=Answer,
    summary="Recommend items to a user",
    responses=documented(InvalidRequest, Expired, NotReady),
    route_class_override=LeanRoute,
)


@router.post(
    "/recommend",
    response_model=Answers,
    summary="Recommend items to several users",
    responses=documented(InvalidRequest, NotReady),
)
async def recommend_many(service: ServiceParts, served: Served, asked: ManyUsers) -> Response:
    """One answer per user, all from one snapshot; each as `GET /recommend/{user_id}` would give it."""
    bodies = []
    for user_id in asked.users:
        answer = await service.recommender.recommend(served, user_id, asked)
        bodies.append(await _rendered(service, answer, asked))
        await asyncio.sleep(0)  # quick work ran on the event loop: let others have their turn
    head = orjson.dumps({"snapshot": served.id})[:-1]
    return Response(head + b',"answers":[' + b",".join(bodies) + b"]}", media_type="application/json")


@router.post(
    "/recommend/session",
    response_model=Answer,
    summary="Recommend items to somebody without a name",
    responses=documented(InvalidRequest, NotReady),
)
async def recommend_session(service: ServiceParts, served: Served, asked: Session) -> Response:
    """The best items after a list of items, scored as a user with this history would be."""
    answer = await service.recommender.recommend_session(served, asked.items, asked)
    body = await _rendered(service, answer, asked)
    return Response(body, media_type="application/json")


async def _rendered(service: Service, answer: Ranked, wish: RankingQuery) -> bytes:
    """The body; what takes no more than tens of microseconds is not worth timing."""
    if wish.explain != "full" and len(answer.page) <= QUICK_ITEMS:
        return render(answer, wish)
    kind = f"render {wish.explain} {len(answer.page).bit_length()}"
    return await service.workbench.run(kind, partial(render, answer, wish))
