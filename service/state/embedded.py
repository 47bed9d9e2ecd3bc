"""State in one SQLite file for one host: write-ahead log, flushed to disk before anything is acknowledged."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from model_store.errors import StoreError
from model_store.events import HISTORY_TYPES, POSITIVE_RATING, Event, Feedback, Forgotten
from model_store.lock import locked
from service.errors import StateUnavailable
from service.state.protocol import NO_EVENTS, Changes, DailyCount, KeptEvent, LiveItem, StateStore, UserEvents
from service.state.shelf_file import ShelfFile
from service.state.writer import Writer

T = TypeVar("T")

FILE = "state.sqlite3"
SHELF_FILE = "answers.sqlite3"
BUSY_SECONDS = 10
EXPORT_BLOCK = 1000
MANY_EVENTS = 500
"""Of a user with so many it takes milliseconds to read them."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS counter (only INTEGER PRIMARY KEY CHECK (only = 1), version INTEGER NOT NULL);
INSERT OR IGNORE INTO counter VALUES (1, 1);  -- 0 lies before everything
CREATE TABLE IF NOT EXISTS events (
  version INTEGER PRIMARY KEY, event_id TEXT NOT NULL UNIQUE, user TEXT NOT NULL, item TEXT NOT NULL,
  type TEXT NOT NULL, value REAL, timestamp REAL NOT NULL, recommendation_id TEXT
);
CREATE INDEX IF NOT EXISTS events_of_user ON events (user);
CREATE INDEX IF NOT EXISTS events_in_time ON events (timestamp);
CREATE TABLE IF NOT EXISTS forgotten (user TEXT PRIMARY KEY, version INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS forgotten_since ON forgotten (version);
CREATE TABLE IF NOT EXISTS items (
  item TEXT PRIMARY KEY, version INTEGER NOT NULL, hidden INTEGER NOT NULL, content BLOB
);
CREATE INDEX IF NOT EXISTS items_since ON items (version);
"""
EVENT_FIELDS = set(Event.model_fields)
"""Shared by all events that are read: a set for each would be half of the memory that events take."""
COLUMNS = "version, event_id, user, item, type, value, timestamp, recommendation_id"
EVERYTHING = f"""
SELECT {COLUMNS} FROM events WHERE version > ?1
UNION ALL SELECT version, NULL, user, NULL, NULL, NULL, NULL, NULL FROM forgotten WHERE version > ?1
ORDER BY version LIMIT {EXPORT_BLOCK}
"""
_HISTORY_TYPES = ", ".join(repr(kind) for kind in sorted(HISTORY_TYPES))
POSITIVE = f"(type IN ({_HISTORY_TYPES}) OR type = 'rating' AND value >= ?)"


class EmbeddedState(StateStore):
    """State in the folder `folder`, shared by the workers of one host."""

    name = "embedded (SQLite)"

    def __init__(self, folder: Path, *, shared: bool) -> None:
        """`shared`: several workers use the folder, so that answers have to be kept in a file as well."""
        self.folder = folder
        self._writer = Writer(self._open)
        self._reader: sqlite3.Connection | None = None
        self._shelf = ShelfFile(folder / SHELF_FILE) if shared else None
        self.shares_answers = shared

    async def start(self) -> None:
        """See `StateStore.start`."""
        try:
            reader = await asyncio.to_thread(self._open)
        except (OSError, sqlite3.Error, StoreError) as error:
            raise StateUnavailable(f"{self.folder}: expected a writable folder, found: {error}") from error
        try:
            if self._shelf is not None:
                await self._shelf.start()
        except BaseException:  # it is tried again, several times a second
            reader.close()
            raise
        self._writer.start()
        self._reader = reader

    async def stop(self) -> None:
        """See `StateStore.stop`."""
        await asyncio.to_thread(self._writer.stop)
        if self._shelf is not None:
            await self._shelf.stop()
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    async def append(self, events: Sequence[Event]) -> int:
        """See `StateStore.append`."""
        return await self._write(lambda connection: _append(connection, events))

    async def events_of(self, user_id: str) -> UserEvents:
        """See `StateStore.events_of`."""
        query = f"SELECT {COLUMNS} FROM events WHERE user = ? ORDER BY version"
        rows = self._read(f"{query} LIMIT {MANY_EVENTS}", user_id)
        if len(rows) == MANY_EVENTS:
            rows = await self._read_apart(query, user_id)
            events = await asyncio.to_thread(lambda: tuple(map(_kept, rows)))
        else:
            events = tuple(map(_kept, rows))
        forgotten = self._read("SELECT version FROM forgotten WHERE user = ?", user_id)
        if not rows and not forgotten:
            return NO_EVENTS
        return UserEvents(events, forgotten[0][0] if forgotten else 0)

    async def users(self) -> AsyncIterator[list[str]]:
        """See `StateStore.users`; reads in a thread, for there may be many."""
        try:
            connection = await asyncio.to_thread(self._connect)
            try:
                for query in ("SELECT DISTINCT user FROM events", "SELECT user FROM forgotten"):
                    rows = await asyncio.to_thread(connection.execute, query)
                    while found := await asyncio.to_thread(rows.fetchmany, EXPORT_BLOCK):
                        yield [user for (user,) in found]
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise StateUnavailable(str(error)) from error

    async def forget(self, user_id: str) -> None:
        """See `StateStore.forget`."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM events WHERE user = ?", (user_id,))
            connection.execute("INSERT OR REPLACE INTO forgotten VALUES (?, ?)", (user_id, _next_version(connection)))

        await self._write(work)
        if self._shelf is not None:
            await self._shelf.forget(user_id)

    async def put_item(self, item_id: str, content: bytes) -> LiveItem:
        """See `StateStore.put_item`."""
        return await self._write(lambda connection: _set_item(connection, item_id, hidden=False, content=content))

    async def hide_item(self, item_id: str) -> LiveItem:
        """See `StateStore.hide_item`."""
        return await self._write(lambda connection: _set_item(connection, item_id, hidden=True, content=None))

    async def changes(self, after: int) -> Changes:
        """See `StateStore.changes`."""
        ((version,),) = self._read("SELECT version FROM counter")
        if version == after:
            return Changes(version, frozenset(), ())
        if version < after:
            return replace(await self.changes(0), everything=True)
        users: set[str] = set()
        if after:
            users.update(user for (user,) in self._read("SELECT user FROM events WHERE version > ?", after))
        forgotten = {user for (user,) in self._read("SELECT user FROM forgotten WHERE version > ?", after)}
        return Changes(version, frozenset(users | forgotten), self._items_after(after), frozenset(forgotten))

    async def daily_counts(self, first_day: int, last_day: int) -> list[DailyCount]:
        """See `StateStore.daily_counts`."""
        query = (
            "SELECT item, CAST(timestamp / 86400 AS INTEGER) AS day, COUNT(*) FROM events "
            f"WHERE timestamp >= ? AND timestamp < ? AND {POSITIVE} GROUP BY item, day"
        )
        rows = await self._read_apart(query, first_day * 86400, (last_day + 1) * 86400, POSITIVE_RATING)
        return await asyncio.to_thread(lambda: [DailyCount(*row) for row in rows])

    async def export(self) -> AsyncIterator[Feedback]:
        """See `StateStore.export`."""
        after = 0
        while rows := self._read(EVERYTHING, after):
            for row in rows:
                yield _kept(row).event if row[1] is not None else Forgotten(forgotten=row[2])
            after = rows[-1][0]

    def keep_answer(self, recommendation_id: str, user_id: str | None, answer: bytes, ttl_seconds: float) -> None:
        """See `StateStore.keep_answer`; a single worker needs no shelf but its own memory."""
        if self._shelf is not None:
            self._shelf.put(recommendation_id, user_id, answer, ttl_seconds)

    async def kept_answer(self, recommendation_id: str) -> bytes | None:
        """See `StateStore.kept_answer`."""
        return None if self._shelf is None else await self._shelf.get(recommendation_id)

    def _open(self) -> sqlite3.Connection:
        """A connection to the file, made where it is missing.

        One worker at a time: where two turn one file to a write-ahead log at once, SQLite refuses one without waiting.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder / f"{FILE}.lock", BUSY_SECONDS):
            connection = self._connect()
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(SCHEMA)
            except BaseException:
                connection.close()
                raise
            return connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.folder / FILE, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")  # what was forgotten is overwritten
        return connection

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._reader is None:
            raise StateUnavailable(f"{self.folder} is not open")
        return await self._writer.run(work)

    def _read(self, query: str, *values: object) -> list[Any]:
        """Rows of a short query, on the event loop: tens of microseconds, and a reader never waits for a writer."""
        if self._reader is None:
            raise StateUnavailable(f"{self.folder} is not open")
        try:
            return self._reader.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise StateUnavailable(str(error)) from error

    async def _read_apart(self, query: str, *values: object) -> list[Any]:
        """Rows of a query that takes long, in a thread."""

        def read() -> list[Any]:
            connection = self._connect()
            try:
                return connection.execute(query, values).fetchall()
            finally:
                connection.close()

        try:
            return await asyncio.to_thread(read)
        except sqlite3.Error as error:
            raise StateUnavailable(str(error)) from error

    def _items_after(self, version: int) -> tuple[LiveItem, ...]:
        rows = self._read(
            "SELECT item, version, hidden, content FROM items WHERE version > ? ORDER BY version", version
        )
        return tuple(LiveItem(item, newest, bool(hidden), content) for item, newest, hidden, content in rows)


def _next_version(connection: sqlite3.Connection) -> int:
    ((version,),) = connection.execute("UPDATE counter SET version = version + 1 RETURNING version").fetchall()
    return int(version)


def _append(connection: sqlite3.Connection, events: Sequence[Event]) -> int:
    ((version,),) = connection.execute("SELECT version FROM counter").fetchall()
    new = 0
    for event in events:
        values = (event.event_id, event.user, event.item, event.type, event.value, event.timestamp)
        cursor = connection.execute(
            f"INSERT OR IGNORE INTO events ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (version + new + 1, *values, event.recommendation_id),
        )
        new += cursor.rowcount
    connection.execute("UPDATE counter SET version = ?", (version + new,))
    return new


def _set_item(connection: sqlite3.Connection, item_id: str, *, hidden: bool, content: bytes | None) -> LiveItem:
    """Hiding keeps the content that was put, so that nothing but the flag changes."""
    version = _next_version(connection)
    connection.execute(
        "INSERT INTO items VALUES (?1, ?2, ?3, ?4) ON CONFLICT (item) DO UPDATE SET version = ?2, hidden = ?3, "
        "content = coalesce(?4, content)",
        (item_id, version, hidden, content),
    )
    ((kept,),) = connection.execute("SELECT content FROM items WHERE item = ?", (item_id,)).fetchall()
    return LiveItem(item_id, version, hidden, kept)


def _kept(row: tuple[Any, ...]) -> KeptEvent:
    version, event_id, user, item, kind, value, timestamp, recommendation_id = row
    event = Event.model_construct(
        EVENT_FIELDS, event_id=event_id, user=user, item=item, type=kind, value=value, timestamp=timestamp,
        recommendation_id=recommendation_id,
    )  # fmt: skip
    return KeptEvent(version, event)
