"""What a state store offers. One contract suite holds every implementation to it.

Everything durable carries a version from one counter of the store, so that a reader can follow what changed and pages
can name the state they were made from.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from model_store.events import Event, Feedback


@dataclass(frozen=True, slots=True)
class KeptEvent:
    """An event with the version it was accepted under."""

    version: int
    event: Event


@dataclass(frozen=True, slots=True)
class UserEvents:
    """What the store knows of one user."""

    events: tuple[KeptEvent, ...] = ()
    """In the order of acceptance."""
    forgotten_at: int = 0
    """The version at which the user was forgotten, 0 if never: what a snapshot says of the user is void since then."""

    @property
    def version(self) -> int:
        """The version of the newest change."""
        return max(self.forgotten_at, self.events[-1].version if self.events else 0)


NO_EVENTS = UserEvents()


@dataclass(frozen=True, slots=True)
class LiveItem:
    """What changed about one item since the snapshot."""

    item_id: str
    version: int
    hidden: bool
    content: bytes | None = None
    """The item as it was put (JSON); None for one that was only hidden."""


class Edition(NamedTuple):
    """What tells the live items that one worker knows now from those it knew at any other time."""

    losses: int = 0
    """How often the store lost its memory: it counts versions from the beginning again then."""
    version: int = 0
    """The newest change to any item."""
    taken: int = 0
    """How many changes were taken in: an older one may be heard of after a newer one that the worker made itself."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened after some version."""

    version: int
    """The newest version there is; ask from here next time."""
    users: frozenset[str]
    items: tuple[LiveItem, ...]
    forgotten: frozenset[str] = frozenset()
    """Those of `users` who were forgotten."""
    everything: bool = False
    """The store cannot tell any more, or lost its memory: forget whatever was mirrored."""


@dataclass(frozen=True, slots=True)
class DailyCount:
    """How many positive events an item had on one day (days since the epoch)."""

    item_id: str
    day: int
    count: int


class StateStore(ABC):
    """Durable events, items and hidden items; and a shelf for answers that may lose what is on it.

    Every method raises `StateUnavailable` where the store cannot do what was asked; nothing is acknowledged before it
    is durable.
    """

    name: str
    """What it is, for `/readyz`."""

    shares_answers: bool
    """Whether there are other workers to keep answers for."""

    warnings: Sequence[str] = ()
    """What about its configuration would break promises, for `/readyz`."""

    @abstractmethod
    async def start(self) -> None:
        """Open the store. Raises `StateUnavailable`; may be called again then."""

    @abstractmethod
    async def stop(self) -> None:
        """Finish what was asked for and close."""

    @abstractmethod
    async def append(self, events: Sequence[Event]) -> int:
        """Keep these events, all or none; how many were new. An `event_id` that is there already changes nothing."""

    @abstractmethod
    async def events_of(self, user_id: str) -> UserEvents:
        """What is known of a user; `NO_EVENTS` for one never heard of."""

    @abstractmethod
    def users(self) -> AsyncIterator[list[str]]:
        """Everybody of whom there are events or a tombstone, list by list, in any order, perhaps more than once.

        Whoever comes to be known while this is going on may be missing.
        """

    @abstractmethod
    async def forget(self, user_id: str) -> None:
        """Remove a user's events, counts and kept answers, and leave a tombstone."""

    async def remembered(self) -> frozenset[str]:
        """Who is known to be forgotten without the store, which may not be reached yet."""
        return frozenset()

    @abstractmethod
    async def put_item(self, item_id: str, content: bytes) -> LiveItem:
        """Add or change an item; it is no longer hidden."""

    @abstractmethod
    async def hide_item(self, item_id: str) -> LiveItem:
        """Hide an item, whether the store has heard of it or not."""

    @abstractmethod
    async def changes(self, after: int) -> Changes:
        """What happened after version `after`; 0 gives every live item, and of the users those who were forgotten."""

    @abstractmethod
    async def daily_counts(self, first_day: int, last_day: int) -> list[DailyCount]:
        """Positive events per item and day, both days included."""

    @abstractmethod
    def export(self) -> AsyncIterator[Feedback]:
        """Every event, and a tombstone for every user who was forgotten, in the order of acceptance."""

    @abstractmethod
    def keep_answer(self, recommendation_id: str, user_id: str | None, answer: bytes, ttl_seconds: float) -> None:
        """Keep an answer, given to this user, where every worker finds it soon; returns at once, and it may be lost."""

    @abstractmethod
    async def kept_answer(self, recommendation_id: str) -> bytes | None:
        """The answer, None once it has left."""
