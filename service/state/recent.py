"""Users' events in memory, for those asked about of late: bounded by users and by events, whichever comes first."""

from __future__ import annotations

from collections import OrderedDict

from service.state.protocol import UserEvents

USERS_KEPT = 100_000
EVENTS_KEPT = 100_000
"""Of all of them together: an event takes 0.7 KB of memory, 1.4 KB where it came from Redis."""


class RecentUsers:
    """The least recently used leave first; the newest always stays."""

    def __init__(self, max_users: int = USERS_KEPT, max_events: int = EVENTS_KEPT) -> None:
        self._kept: OrderedDict[str, UserEvents] = OrderedDict()
        self._max_users = max_users
        self._max_events = max_events
        self.events = 0
        """How many events are kept."""

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, user_id: str) -> UserEvents | None:
        """What is kept of a user."""
        return self._kept.get(user_id)

    def move_to_end(self, user_id: str) -> None:
        """This one was asked about just now."""
        self._kept.move_to_end(user_id)

    def put(self, user_id: str, found: UserEvents) -> None:
        """Keep what was found of a user; others may leave for it."""
        self.pop(user_id)
        self._kept[user_id] = found
        self.events += len(found.events)
        while len(self._kept) > 1 and (len(self._kept) > self._max_users or self.events > self._max_events):
            self.events -= len(self._kept.popitem(last=False)[1].events)

    def pop(self, user_id: str, default: None = None) -> UserEvents | None:
        """Take a user out."""
        found = self._kept.pop(user_id, default)
        self.events -= len(found.events) if found is not None else 0
        return found

    def clear(self) -> None:
        """Take everybody out."""
        self._kept.clear()
        self.events = 0
