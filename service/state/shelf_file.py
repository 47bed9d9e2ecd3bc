"""Answers in a file that several workers share: written in the background, without waiting for the disk.

A power cut may damage such a file; it is a cache, so that a damaged one is begun anew.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from model_store.errors import StoreError
from model_store.lock import locked
from service.errors import StateUnavailable
from service.state.answers import born_at, may_come_within

log = logging.getLogger("magnet.answers")
FLUSH_SECONDS = 0.05
MOST_WAITING = 10_000
CLEAN_SECONDS = 30.0
SCHEMA = """
CREATE TABLE IF NOT EXISTS kept (id TEXT PRIMARY KEY, user TEXT, expires REAL NOT NULL, answer BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS by_expiry ON kept (expires);
CREATE INDEX IF NOT EXISTS by_user ON kept (user);
"""
KEEP = "INSERT OR REPLACE INTO kept VALUES (?, ?, ?, ?)"
FORGET = "DELETE FROM kept WHERE user = ?"
MOST_BYTES = 2**30
"""Of disk: the oldest answers leave for the newest, for events have to find room beside them."""
MAKE_ROOM = """
DELETE FROM kept WHERE expires <=
  (SELECT expires FROM kept ORDER BY expires LIMIT 1 OFFSET (SELECT count(*) / 10 FROM kept))
"""
MOST_ROUNDS = 20
"""Of taking down a tenth of the answers; a disk that others filled may still have no room after them."""
DAMAGE = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
"""What SQLite says of a file that is damaged, or none of answers: each byte of its head means something else."""
LOCK_SECONDS = 10.0
FORGET_SECONDS = 5.0
"""Longer than this nobody waits for a slow disk; what was forgotten is not given out all the same."""


@dataclass(frozen=True)
class _Entry:
    """A statement that waits to be executed."""

    statement: str
    values: tuple[object, ...]
    done: threading.Event | None = None
    """Set once it was, where somebody waits for that."""


class ShelfFile:
    """A cache: losing it loses explanations of past answers, nothing else."""

    def __init__(self, path: Path, max_bytes: int = MOST_BYTES) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._waiting: queue.Queue[_Entry | None] = queue.Queue(MOST_WAITING)
        self._thread: threading.Thread | None = None
        self._reader: sqlite3.Connection | None = None

    async def start(self) -> None:
        """Open the file and begin to write. Raises `StateUnavailable`."""
        try:
            self._reader, writing = await asyncio.to_thread(self._open)
        except (sqlite3.Error, OSError, StoreError) as error:
            raise StateUnavailable(f"{self._path}: {error}") from error
        self._thread = threading.Thread(target=self._write, args=(writing,), name="answer writer", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Write what waits, then close."""
        if self._thread is not None:
            await asyncio.to_thread(self._waiting.put, None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def put(self, recommendation_id: str, user_id: str | None, answer: bytes, ttl_seconds: float) -> None:
        """Keep an answer soon; dropped where the disk cannot keep up."""
        if not self._waiting.full():
            self._waiting.put_nowait(_Entry(KEEP, (recommendation_id, user_id, time.time() + ttl_seconds, answer)))

    async def forget(self, user_id: str) -> None:
        """Take down a user's answers, those that still wait here included."""
        done = threading.Event()
        await asyncio.to_thread(self._waiting.put, _Entry(FORGET, (user_id,), done))
        await asyncio.to_thread(done.wait, FORGET_SECONDS)

    async def get(self, recommendation_id: str) -> bytes | None:
        """The answer; a very young one is waited for. Raises `StateUnavailable`."""
        if born_at(recommendation_id) is None or self._reader is None:
            return None
        deadline = time.monotonic() + may_come_within(recommendation_id)
        while True:
            try:
                rows = self._reader.execute(
                    "SELECT answer FROM kept WHERE id = ? AND expires > ?", (recommendation_id, time.time())
                ).fetchall()
            except sqlite3.Error as error:
                raise StateUnavailable(f"{self._path}: {error}") from error
            if rows or time.monotonic() > deadline:
                return bytes(rows[0][0]) if rows else None
            await asyncio.sleep(FLUSH_SECONDS)

    def _open(self) -> tuple[sqlite3.Connection, sqlite3.Connection]:
        """One connection to read by and one to write by. One worker at a time, so that all begin the same file anew."""
        with locked(self._path.with_name(f"{self._path.name}.lock"), LOCK_SECONDS):
            try:
                first = self._connect()
            except sqlite3.Error as error:
                if error.sqlite_errorcode & 0xFF not in DAMAGE:
                    raise
                log.warning("%s is damaged and begun anew: %s", self._path, error)
                for suffix in ("", "-wal", "-shm"):
                    self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
                first = self._connect()
            try:
                return first, self._connect()
            except BaseException:
                first.close()
                raise

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=10, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA secure_delete = ON")  # what was forgotten is overwritten
            ((page_bytes,),) = connection.execute("PRAGMA page_size").fetchall()
            connection.execute(f"PRAGMA max_page_count = {self._max_bytes // page_bytes}")
            connection.executescript(SCHEMA)
        except BaseException:
            connection.close()
            raise
        return connection

    def _write(self, connection: sqlite3.Connection) -> None:
        cleaned = time.monotonic()
        done = False
        while not done:
            batch = [self._waiting.get()]
            time.sleep(FLUSH_SECONDS)
            while not self._waiting.empty():
                batch.append(self._waiting.get())
            done = None in batch
            if time.monotonic() - cleaned > CLEAN_SECONDS:
                cleaned = time.monotonic()
                batch.append(_Entry("DELETE FROM kept WHERE expires < ?", (time.time(),)))
            entries = [entry for entry in batch if entry is not None]
            for _ in range(MOST_ROUNDS):
                if _commit(connection, entries) != sqlite3.SQLITE_FULL:
                    break
                _commit(connection, [_Entry(MAKE_ROOM, ())])
            for entry in entries:
                if entry.done is not None:
                    entry.done.set()
        connection.close()


def _commit(connection: sqlite3.Connection, entries: list[_Entry]) -> int | None:
    """Execute all or none; what went wrong, in SQLite's numbers."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        for entry in entries:
            connection.execute(entry.statement, entry.values)
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        return error.sqlite_errorcode
    return None
