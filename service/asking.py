"""Who is asking: what the snapshot and the newer events say about a user, as one state to score from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model_store.scoring import UserState
from service.served import ServedSnapshot
from service.state.protocol import NO_EVENTS, Edition, KeptEvent, UserEvents
from service.view import View

NO_ROWS = np.zeros(0, np.int64)


def no_history() -> NDArray[np.int32]:
    """That of somebody without one."""
    return np.zeros(0, np.int32)


class RoutedKey(NamedTuple):
    """Everything that a user's state and the terms of its items depend on."""

    snapshot_id: str
    edition: Edition
    user_id: str
    user_version: int


@dataclass(frozen=True)
class Asker:
    """The asking user, for one snapshot and one version of the user's events.

    `encode` makes what the user is scored from; None where there is no history: the strategy is `popular` then.
    """

    user_id: str | None
    strategy: str
    read_history: Callable[[], NDArray[np.int32]]
    """The history that shapes the answers, oldest first."""
    encode: Callable[[], UserState] | None
    seen: NDArray[np.int64]
    """Distinct rows the user has interacted with; left out unless the caller wants them."""
    unwanted: NDArray[np.int64] = field(default_factory=lambda: NO_ROWS)
    """Distinct rows the user does not want; always left out."""
    events_used: int = 0
    version: int = 0
    """The version of the user's events that this was made from."""
    exists: bool = True
    """Whether the snapshot or the events know the user."""
    routed: RoutedKey | None = None
    """Where its scores are kept; None for somebody without a name."""
    user_row: int | None = None
    """The row of the snapshot that says all there is to say of this user; None where events say more."""

    @cached_property
    def history_rows(self) -> NDArray[np.int32]:
        """The history that shapes the answers, oldest first; read when it is first asked for."""
        return self.read_history()

    @cached_property
    def state(self) -> UserState | None:
        """What the user is scored from, made when it is first asked for: a ranking made ahead needs none."""
        return None if self.encode is None else self.encode()


def known_asker(served: ServedSnapshot, user_id: str, user_row: int) -> Asker:
    """A user of whom there are no events, for an answer that was made ahead: what has been seen is left out of it."""
    read, encode = partial(served.history, user_row), partial(served.scorer.known_user, user_row)
    return Asker(user_id, "personalised", read, encode, NO_ROWS, user_row=user_row)


def asker_for(view: View, user_id: str, events: UserEvents = NO_EVENTS, at_version: int | None = None) -> Asker:
    """The user as the snapshot and the events up to `at_version` (None: all) know it.

    The newest event about an item counts. A positive one puts the item into the history, behind what the snapshot
    knows; a negative one takes it out, whoever put it there. What the snapshot holds already is not new. A forgotten
    user has no snapshot history. An item added since is seen; it does not shape the history, which has no row for it.
    """
    served = view.served
    row = None if events.forgotten_at else served.snapshot.user_row(user_id)
    base = served.snapshot.history(row) if row is not None else np.zeros(0, np.int32)
    limit = events.version if at_version is None else at_version
    key = RoutedKey(served.id, view.edition, user_id, limit)
    if not events.events or events.events[0].version > limit:
        if row is None or len(base) == 0:
            exists = row is not None
            return Asker(user_id, "popular", no_history, None, NO_ROWS, version=limit, exists=exists, routed=key)
        encode = partial(served.scorer.known_user, row)
        seen = _rows(base.tolist())
        known = partial(served.history, row)
        return Asker(user_id, "personalised", known, encode, seen, version=limit, routed=key, user_row=row)
    wanted, unwanted = _by_item(view, [kept for kept in events.events if kept.version <= limit])
    before = set(base.tolist())
    kept_base = [item_row for item_row in base.tolist() if item_row not in unwanted]
    new = [item_row for item_row in wanted if item_row not in before and item_row < served.n_items]
    used = len(new) + len(unwanted)
    seen, never = _rows([*before, *wanted, *unwanted]), _rows(list(unwanted))
    history = served.capped(np.array(kept_base + new, np.int32))
    if len(history) == 0:
        return Asker(user_id, "popular", no_history, None, seen, never, used, limit, routed=key)
    if row is not None and not new and len(kept_base) == len(base):
        encode = partial(served.scorer.known_user, row)
    else:
        encode = partial(served.encode_user, history)
    strategy = "personalised" if kept_base else "folded-in"
    return Asker(user_id, strategy, lambda: history, encode, seen, never, used, limit, routed=key)


def session_asker(view: View, item_rows: list[int]) -> Asker:
    """Somebody without a name, known by a list of items, most recent last; of a repeated item the last one counts."""
    looked_at = list(dict.fromkeys(reversed(item_rows)))[::-1]
    history = np.array([row for row in looked_at if row < view.served.n_items], np.int32)
    if len(history) == 0:
        return Asker(None, "popular", no_history, None, _rows(looked_at))
    history = view.served.capped(history)
    return Asker(None, "session", lambda: history, partial(view.served.encode_user, history), _rows(looked_at))


def _by_item(view: View, events: list[KeptEvent]) -> tuple[list[int], set[int]]:
    """Rows in the order of their newest positive event, and rows whose newest event is negative."""
    wanted: dict[int, None] = {}
    unwanted: set[int] = set()
    for kept in sorted(events, key=lambda kept: (kept.event.timestamp, kept.version)):
        row = view.item_row(kept.event.item)
        if row is None:
            continue
        wanted.pop(row, None)
        unwanted.discard(row)
        if kept.event.is_positive:
            wanted[row] = None
        else:
            unwanted.add(row)
    return list(wanted), unwanted


def _rows(rows: list[int]) -> NDArray[np.int64]:
    return np.array(sorted(set(rows)), np.int64)  # histories are short: NumPy's way takes longer
