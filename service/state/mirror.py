"""What a worker keeps in memory of the shared state, and how it stays fresh.

Every worker follows the store's changes several times a second; what it changed itself it sees at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from typing import TypeVar

from model_store.events import Event
from service.errors import StateUnavailable
from service.state.heard import Heard
from service.state.protocol import NO_EVENTS, Changes, Edition, LiveItem, StateStore, UserEvents
from service.state.recent import RecentUsers

log = logging.getLogger("magnet.state")
LIST_SECONDS = 1.0
"""How often it is looked at whether everybody is listed."""
T = TypeVar("T")


class Mirror:
    """Users' events as they are asked for, and every live item."""

    def __init__(self, store: StateStore) -> None:
        self.store = store
        self._users = RecentUsers()
        self._generation = 0
        self._version = 0
        self._started = False
        self.items: dict[str, LiveItem] = {}
        self.edition = Edition()
        self._forgotten: set[str] = set()
        """Everybody who has a tombstone: it holds even while the store cannot be asked."""
        self._heard = Heard()
        """Everybody of whom the store has anything, once they are listed."""
        self._listed = False
        self.failure: str | None = None
        """Why the store does not answer, while it does not."""

    async def catch_up(self) -> frozenset[str]:
        """Open the store where it is not, take in what happened since the last time, and say who was forgotten.

        Never raises.
        """
        try:
            if not self._started:
                self._forgotten |= await self.store.remembered()
                await self.store.start()
                self._started = True
            changes = await self.store.changes(self._version)
            self._apply(changes)
            self._recovered()
        except StateUnavailable as error:
            self._failed(error)
            return frozenset()
        return changes.forgotten

    async def stop(self) -> None:
        """Close the store."""
        await self.store.stop()  # also where it was never reached: it may have begun to connect
        self._started = False

    def is_forgotten(self, user_id: str) -> bool:
        """Whether this worker knows of the user's tombstone."""
        return user_id in self._forgotten

    def peek(self, user_id: str) -> UserEvents | None:
        """The user's events where they are in memory, or where it is known that there are none."""
        found = self._users.get(user_id)
        if found is not None:
            self._users.move_to_end(user_id)
        elif self._listed and self.failure is None and user_id not in self._heard and user_id not in self._forgotten:
            return NO_EVENTS
        return found

    async def list_users(self) -> None:
        """Learn of whom the store has anything, now and whenever it lost its memory, until cancelled."""
        while True:
            if not self._listed and self.failure is None and self._version:  # changes since then are told
                await self._list()
            await asyncio.sleep(LIST_SECONDS)

    async def _list(self) -> None:
        heard = self._heard
        try:
            async for users in self.store.users():
                heard.update(users)
        except StateUnavailable as error:
            self._failed(error)
            return
        self._listed = heard is self._heard  # else the store lost its memory meanwhile

    async def events_of(self, user_id: str) -> UserEvents:
        """The user's events. Raises `StateUnavailable`."""
        found = self.peek(user_id)
        if found is not None:
            return found
        if self.failure is not None:  # `catch_up` finds out when it is back; nobody has to wait for another timeout
            return self._tombstone(user_id, StateUnavailable(self.failure))
        generation = self._generation
        try:
            found = await self.store.events_of(user_id)
        except StateUnavailable as error:
            self._failed(error)
            return self._tombstone(user_id, error)
        if generation == self._generation:  # else a change came in while the store was read, perhaps this user's
            self._users.put(user_id, found)
        return found

    async def append(self, events: Sequence[Event]) -> int:
        """See `StateStore.append`; this worker's next answers show them."""
        new = await self._durably(self.store.append(events))
        self._drop({event.user for event in events})
        return new

    async def forget(self, user_id: str) -> None:
        """See `StateStore.forget`."""
        await self._durably(self.store.forget(user_id))
        self._forgotten.add(user_id)
        self._drop({user_id})

    async def put_item(self, item_id: str, content: bytes) -> LiveItem:
        """See `StateStore.put_item`."""
        return self._take(await self._durably(self.store.put_item(item_id, content)))

    async def hide_item(self, item_id: str) -> LiveItem:
        """See `StateStore.hide_item`."""
        return self._take(await self._durably(self.store.hide_item(item_id)))

    async def _durably(self, writing: Awaitable[T]) -> T:
        try:
            return await writing
        except StateUnavailable as error:
            self._failed(error)
            raise

    def _apply(self, changes: Changes) -> None:
        if changes.everything:
            log.warning("the state store lost its memory or began anew at version %d", changes.version)
            self._users.clear()
            self._forgotten.clear()
            self.items.clear()
            self.edition = Edition(losses=self.edition.losses + 1)
            self._heard, self._listed = Heard(), False
        self._forgotten |= changes.forgotten
        self._drop(changes.users)
        for item in changes.items:
            self._take(item)
        self._version = changes.version

    def _take(self, item: LiveItem) -> LiveItem:
        """An older report never overwrites a newer one."""
        known = self.items.get(item.item_id)
        if known is None or known.version < item.version:
            self.items[item.item_id] = item
            losses, version, taken = self.edition
            self.edition = Edition(losses, max(version, item.version), taken + 1)
        return item

    def _tombstone(self, user_id: str, error: StateUnavailable) -> UserEvents:
        """What is known of a user while the store cannot be asked: raises `error` but for those who were forgotten."""
        if user_id in self._forgotten:
            return UserEvents(forgotten_at=max(self._version, 1))
        raise error

    def _drop(self, users: frozenset[str] | set[str]) -> None:
        self._generation += 1
        self._heard.update(users)
        for user_id in users:
            self._users.pop(user_id, None)

    def _failed(self, error: StateUnavailable) -> None:
        if self.failure is None:
            log.error("the state store is unavailable: %s", error.detail)
        self.failure = error.detail

    def _recovered(self) -> None:
        if self.failure is not None:
            log.warning("the state store is back")
        self.failure = None
