"""One thread that writes to SQLite: whatever waits is committed together, and one flush to disk serves many callers."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from service.errors import StateUnavailable

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]

MOST_AT_ONCE = 512
"""How many requests share a commit."""


class Writer:
    """Runs work inside transactions of one connection and reports back to the event loop after the commit."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._waiting: queue.SimpleQueue[tuple[Work, asyncio.Future[Any]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to write, where that has not begun."""
        if self._thread is not None:
            return
        self._thread = threading.Thread(target=self._work, name="state writer", daemon=True)
        self._thread.start()

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """The result of `work(connection)` once it is committed. Raises `StateUnavailable` if it was rolled back."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.put((work, future))
        return await future

    def stop(self) -> None:
        """Commit what is waiting, then end."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        connection: sqlite3.Connection | None = None
        while (first := self._waiting.get()) is not None:
            batch = [first]
            while len(batch) < MOST_AT_ONCE and not self._waiting.empty():
                following = self._waiting.get()
                if following is None:
                    self._waiting.put(None)
                    break
                batch.append(following)
            try:
                connection = connection or self._connect()
                results = _transaction(connection, [work for work, _ in batch])
            except Exception as error:  # whatever it is, the callers have to hear of it and the thread has to live
                if connection is not None:
                    connection.close()
                    connection = None
                failure = StateUnavailable(f"nothing was kept: {error}")
                _report([(future, None, failure) for _, future in batch])
            else:
                _report([(future, result, None) for (_, future), result in zip(batch, results, strict=True)])
        if connection is not None:
            connection.close()


def _transaction(connection: sqlite3.Connection, batch: list[Work]) -> list[Any]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        results = [work(connection) for work in batch]
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return results


def _report(outcomes: list[tuple[asyncio.Future[Any], Any, Exception | None]]) -> None:
    """Resolve the futures on their loops; a caller that left meanwhile, or a loop that ended, misses nothing."""
    for future, result, failure in outcomes:
        loop = future.get_loop()
        if not loop.is_closed():
            loop.call_soon_threadsafe(_resolve, future, result, failure)


def _resolve(future: asyncio.Future[Any], result: Any, failure: Exception | None) -> None:
    if future.done():
        return
    if failure is None:
        future.set_result(result)
    else:
        future.set_exception(failure)
