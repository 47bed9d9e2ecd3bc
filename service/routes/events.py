"""`POST /events`, and forgetting a user."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from service.errors import InvalidRequest, StateUnavailable, documented
from service.routes.context import ServiceParts
from service.routes.ids import UserId
from service.schemas.bodies import Events, EventsKept, Forgotten

router = APIRouter(tags=["feedback"])


@router.post(
    "/events",
    response_model=EventsKept,
    summary="Send feedback",
    responses=documented(InvalidRequest, StateUnavailable),
)
async def events(service: ServiceParts, sent: Events) -> dict[str, Any]:
    """Keep what users did. Acknowledged once it is durable; the next answer of this worker shows it, within a second
    every worker's. Sending the same `event_id` again changes nothing.

    `view`, `click`, `purchase` and a `rating` of at least 3.5 extend the history; a lower rating, `dislike` and `hide`
    keep the item away from the user.
    """
    new = await service.mirror.append(sent.events)
    service.metrics.events(new, len(sent.events) - new)
    return {"accepted": new, "duplicates": len(sent.events) - new}


@router.delete(
    "/users/{user_id:id}",
    response_model=Forgotten,
    summary="Forget a user",
    responses=documented(InvalidRequest, StateUnavailable),
)
async def forget(service: ServiceParts, user_id: UserId) -> dict[str, Any]:
    """Forget a user: events and kept answers are removed, here at once and in every other worker within a second.

    A tombstone stays. It holds for every snapshot, rolled back ones too, and leaves the user out of the next training.
    """
    await service.mirror.forget(user_id)
    await service.forget({user_id})
    return {"user": user_id, "forgotten": True}
