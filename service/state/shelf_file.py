"""Answers in a file that several workers share: written in the background, without waiting for the disk."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from pathlib import Path

from service.errors import StateUnavailable
from service.state.answers import born_at

FLUSH_SECONDS = 0.05
SETTLE_SECONDS = 0.5
"""An answer younger than this may still wait to be written by its worker."""
MOST_WAITING = 10_000
CLEAN_SECONDS = 30.0
SCHEMA = "CREATE TABLE IF NOT EXISTS answers (id TEXT PRIMARY KEY, expires REAL NOT NULL, answer BLOB NOT NULL)"


class ShelfFile:
    """A cache: losing it loses explanations of past answers, nothing else."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: queue.Queue[tuple[str, float, bytes] | None] = queue.Queue(MOST_WAITING)
        self._thread: threading.Thread | None = None
        self._reader: sqlite3.Connection | None = None

    async def start(self) -> None:
        """Open the file and begin to write. Raises `StateUnavailable`."""
        try:
            self._reader = await asyncio.to_thread(self._connect)
        except sqlite3.Error as error:
            raise StateUnavailable(f"{self._path}: {error}") from error
        self._thread = threading.Thread(target=self._write, name="answer writer", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Write what waits, then close."""
        if self._thread is not None:
            await asyncio.to_thread(self._waiting.put, None)
            await asyncio.to_thread(self._thread.join)
        if self._reader is not None:
            self._reader.close()

    def put(self, recommendation_id: str, answer: bytes, ttl_seconds: float) -> None:
        """Keep an answer soon; dropped where the disk cannot keep up."""
        if not self._waiting.full():
            self._waiting.put_nowait((recommendation_id, time.time() + ttl_seconds, answer))

    async def get(self, recommendation_id: str) -> bytes | None:
        """The answer; a very young one is waited for. Raises `StateUnavailable`."""
        born = born_at(recommendation_id)
        if born is None or self._reader is None:
            return None
        # Callers choose ids, and clocks are set back: a birth in the future earns no longer wait than one just now.
        deadline = time.monotonic() + min(born + SETTLE_SECONDS - time.time(), SETTLE_SECONDS)
        while True:
            try:
                rows = self._reader.execute(
                    "SELECT answer FROM answers WHERE id = ? AND expires > ?", (recommendation_id, time.time())
                ).fetchall()
            except sqlite3.Error as error:
                raise StateUnavailable(f"{self._path}: {error}") from error
            if rows or time.monotonic() > deadline:
                return bytes(rows[0][0]) if rows else None
            await asyncio.sleep(FLUSH_SECONDS)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=10, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(SCHEMA)
        connection.execute("CREATE INDEX IF NOT EXISTS by_expiry ON answers (expires)")
        return connection

    def _write(self) -> None:
        connection = self._connect()
        cleaned = time.monotonic()
        done = False
        while not done:
            batch = [self._waiting.get()]
            time.sleep(FLUSH_SECONDS)
            while not self._waiting.empty():
                batch.append(self._waiting.get())
            done = None in batch
            try:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany(
                    "INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", [entry for entry in batch if entry is not None]
                )
                if time.monotonic() - cleaned > CLEAN_SECONDS:
                    cleaned = time.monotonic()
                    connection.execute("DELETE FROM answers WHERE expires < ?", (time.time(),))
                connection.execute("COMMIT")
            except sqlite3.Error:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        connection.close()
