"""Where CPU work runs: on the event loop while it is quick, in a few threads once it would hold the loop up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from service.retrieval.faiss_cpu import use_one_thread

T = TypeVar("T")

INLINE_SECONDS = 0.0025
"""Work expected to take longer leaves the event loop; half of the promised 5 ms, because durations vary."""
MEMORY = 0.2
"""Weight of the newest duration in the running mean."""
TIMED_EVERY = 8
"""On the event loop, one run of so many is timed: asking for a thread's time is a system call."""


async def turn() -> None:
    """Let others begin before this goes on.

    Quick work never leaves the event loop, so without this each of a crowd of requests would be over before the next is
    counted, and the last would have waited for all of them.
    """
    await asyncio.sleep(0)


class Workbench:
    """Runs synchronous work of named kinds and remembers how much time of its thread each kind takes.

    That is not the time on the clock: threads that wait for each other's interpreter lock would look slow for good.
    """

    def __init__(self, threads: int) -> None:
        use_one_thread()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="scoring", initializer=use_one_thread)
        self._expected: dict[str, float] = {}
        self._runs = 0

    async def run(self, kind: str, work: Callable[[], T], *, waits: bool = False) -> T:
        """The result of `work()`. A kind that was never seen goes to a thread, to learn its duration safely.

        Work that `waits` for a device always does: its own time says nothing of how long that takes.
        """
        if not waits and self._expected.get(kind, INLINE_SECONDS) < INLINE_SECONDS:
            self._runs += 1
            return work() if self._runs % TIMED_EVERY else self._timed(kind, work)
        within = copy_context()  # spans and log lines of the thread belong to the request, too
        return await asyncio.get_running_loop().run_in_executor(self._pool, within.run, self._timed, kind, work)

    def close(self) -> None:
        """Wait for running work and end the threads."""
        self._pool.shutdown(wait=True)

    def _timed(self, kind: str, work: Callable[[], T]) -> T:
        started = time.thread_time()
        try:
            return work()
        finally:
            seconds = time.thread_time() - started
            before = self._expected.get(kind, seconds)
            self._expected[kind] = seconds * MEMORY + before * (1 - MEMORY)
