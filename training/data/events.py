"""Feedback that the service kept, joined to a dataset's interactions."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_store.events import Event, read_events
from training.data.dataset import Dataset
from training.data.interactions import Interactions

logger = logging.getLogger(__name__)
NAMED = 5
"""How many unknown items a warning names."""


def with_events(dataset: Dataset, paths: Sequence[Path]) -> Dataset:
    """`dataset` with the events of these JSON-lines files behind its own interactions.

    An `event_id` counts once. As in the service, the newest event of a user about an item decides: where it counts as
    history it becomes one interaction (in the training part, where the dataset names parts); otherwise none does.
    Users that the dataset does not know come last. Events about items that it does not know are left out, with one
    warning. Raises InvalidEvent, StoreUnusable.
    """
    newest = _newest(event for path in paths for event in read_events(path))
    item_rows = {item_id: row for row, item_id in enumerate(dataset.items.item_ids)}
    unknown = [event.item for event in newest if event.item not in item_rows]
    if unknown:
        names = sorted(set(unknown))
        more = ", …" if len(names) > NAMED else ""
        logger.warning(
            "%d events are about %d items that %s does not have, and are left out: %s%s",
            *(len(unknown), len(names), dataset.name, ", ".join(names[:NAMED]), more),
        )
    events = [event for event in newest if event.is_positive and event.item in item_rows]
    if not events:
        return dataset
    user_rows = {user_id: row for row, user_id in enumerate(dataset.user_ids)}
    for event in events:
        user_rows.setdefault(event.user, len(user_rows))
    added = Interactions(
        user_row=np.array([user_rows[event.user] for event in events], np.int32),
        item_row=np.array([item_rows[event.item] for event in events], np.int32),
        timestamp=np.array([event.timestamp for event in events], np.float64),
        rating=np.array([_rating(event) for event in events], np.float32),
        given_split=np.zeros(len(events), np.int8),
    )
    return replace(dataset, user_ids=list(user_rows), interactions=_joined(dataset.interactions, added))


def _newest(events: Iterable[Event]) -> list[Event]:
    """The newest event of every user and item, oldest first; of equally old ones the later in the files."""
    once = {event.event_id: event for event in events}
    ordered = sorted(once.values(), key=lambda event: event.timestamp)
    newest: dict[tuple[str, str], Event] = {}
    for event in ordered:
        newest.pop((event.user, event.item), None)
        newest[event.user, event.item] = event
    return list(newest.values())


def _rating(event: Event) -> float:
    """NaN for what is no rating."""
    return event.value if event.type == "rating" and event.value is not None else float("nan")


def _joined(own: Interactions, added: Interactions) -> Interactions:
    """`added` behind `own`, with the columns that `own` has: where it has no times, the order of the file is time."""

    def column(name: str) -> NDArray[Any] | None:
        before = getattr(own, name)
        return None if before is None else np.concatenate([before, getattr(added, name)])

    return Interactions(
        user_row=np.concatenate([own.user_row, added.user_row]),
        item_row=np.concatenate([own.item_row, added.item_row]),
        timestamp=column("timestamp"),
        rating=column("rating"),
        given_split=column("given_split"),
    )
