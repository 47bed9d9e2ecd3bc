"""Events for tests."""

from __future__ import annotations

import itertools
from typing import Any

from model_store.events import Event

_numbers = itertools.count()
NOON = 1_790_000_000.0


def event(user: str, item: str, kind: str = "click", **fields: Any) -> Event:
    """A valid event with an id and a timestamp of its own, later than the one before."""
    number = next(_numbers)
    given = {"event_id": f"event-{number}", "timestamp": NOON + number} | fields
    return Event.model_validate({"user": user, "item": item, "type": kind} | given)


def sent(*events: Event) -> dict[str, Any]:
    """The body that sends these events."""
    return {"events": [event.model_dump(exclude_none=True) for event in events]}
