"""Feedback that the service kept, joined to a dataset's interactions."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_store.events import Event, Feedback, Forgotten, read_events
from training.data.dataset import Dataset
from training.data.interactions import Interactions

logger = logging.getLogger(__name__)
NAMED = 5
"""How many unknown items a warning names."""


def with_events(dataset: Dataset, paths: Sequence[Path]) -> Dataset:
    """`dataset` with the events of these JSON-lines files, oldest first, behind its own interactions.

    A user who was forgotten leaves, with the dataset's own interactions and all events before the tombstone; events
    behind it are of somebody new.

    An `event_id` counts once. As in the service, the newest event of a user about an item decides: where it counts as
    history it becomes one interaction (in the training part, where the dataset names parts); otherwise none does.
    Users that the dataset does not know come last. Events about items that it does not know are left out, with one
    warning. Raises InvalidEvent, StoreUnusable.
    """
    kept, forgotten = _kept(entry for path in paths for entry in read_events(path))
    dataset, newest = _without(dataset, forgotten), _newest(kept)
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


def _kept(feedback: Iterable[Feedback]) -> tuple[list[Event], set[str]]:
    """The events that no later tombstone voids, in order, and who was ever forgotten."""
    by_user: dict[str, list[tuple[int, Event]]] = {}
    forgotten: set[str] = set()
    for place, entry in enumerate(feedback):
        if isinstance(entry, Forgotten):
            forgotten.add(entry.forgotten)
            by_user.pop(entry.forgotten, None)
        else:
            by_user.setdefault(entry.user, []).append((place, entry))
    placed = sorted((placed for events in by_user.values() for placed in events), key=lambda placed: placed[0])
    return [event for _, event in placed], forgotten


def _without(dataset: Dataset, user_ids: set[str]) -> Dataset:
    """`dataset` as if it had never heard of these users; the others' rows close the gaps."""
    keep = np.array([user_id not in user_ids for user_id in dataset.user_ids], np.bool_)
    if keep.all():
        return dataset
    rows = np.cumsum(keep) - 1
    own = dataset.interactions
    kept = np.flatnonzero(keep[own.user_row])
    logger.warning("%d users asked to be forgotten and are left out", int((~keep).sum()))

    def column(values: NDArray[Any] | None) -> NDArray[Any] | None:
        return None if values is None else values[kept]

    interactions = Interactions(
        user_row=rows[own.user_row[kept]].astype(np.int32),
        item_row=own.item_row[kept],
        timestamp=column(own.timestamp),
        rating=column(own.rating),
        given_split=column(own.given_split),
    )
    remaining = [user_id for user_id, stays in zip(dataset.user_ids, keep.tolist(), strict=True) if stays]
    return replace(dataset, user_ids=remaining, interactions=interactions)


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
