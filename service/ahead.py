"""Rankings of known users, made ahead of their questions: after every swap, while nobody waits for anything else.

A ranking holds for one snapshot with one version of the live items, and for a user of whom there are no
events; whoever asks for anything else is answered the usual way.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Set
from functools import partial

import numpy as np
from numpy.typing import NDArray

from service.made import FIRST_PAGE, RANKS, Made, Table
from service.printed import Page
from service.telemetry import Metrics
from service.view import View
from service.workbench import Workbench

SETTLE_SECONDS = 3.0
"""How long the live items have to stay as they are before rankings are made from them."""
POLL_SECONDS = 0.25
BUSY_FACTOR = 4
"""While people ask, the work pauses for so many times as long as it worked: a fifth of a core at most."""

Make = Callable[[View, str], Made | None]
"""The usual way to a user's first `RANKS` ranks; None for somebody who was forgotten."""
Speak = Callable[[View, str, Made], bytes]
"""Puts a page into words."""


class Ahead:
    """The rankings of one view of the catalogue, and the task that makes them."""

    def __init__(self, workbench: Workbench, metrics: Metrics, max_bytes: int, max_words: int) -> None:
        """`max_bytes` of memory, and `max_words` bytes of disk for words."""
        self._max_words = max_words
        self._workbench = workbench
        self._metrics = metrics
        self._max_bytes = max_bytes
        self._table: Table | None = None
        self._asked = 0

    def find(self, view: View, user_id: str, ranks: slice, *, in_words: bool = False) -> Made | None:
        """These ranks (from 0) of a user without events, as the usual way would give them; None for who has none."""
        self._asked += 1
        table = self._table
        if table is None or table.view is not view or ranks.stop > RANKS:
            return None
        found = table.get(user_id, ranks, in_words=in_words)
        self._metrics.cache("ahead", hit=found is not None)
        return found

    def find_pair(self, view: View, user_id: str, item_row: int) -> Page | None:
        """The one item as it stands in the user's ranking; None where it is not among the first."""
        first = self.find(view, user_id, slice(0, RANKS))
        at = np.flatnonzero(first.page.rows == item_row).tolist() if first is not None else []
        found = self.find(view, user_id, slice(at[0], at[0] + 1)) if at else None
        return None if found is None else found.page

    def forget(self, users: Set[str]) -> None:
        """Take down what was made for these users."""
        if self._table is not None:
            for user_id in users:
                self._table.forget(user_id)

    async def follow(self, current: Callable[[], View | None], make: Make, speak: Speak) -> None:
        """Keep up with snapshots and live items, `current()` being what is served, until cancelled."""
        view, since = None, 0.0
        while self._max_bytes:
            newest = current()
            if newest is not view:
                same = view is not None and newest is not None and view.served is newest.served
                view, since, self._table = newest, time.monotonic() if same else 0.0, None
                self._metrics.ahead(0)
            if view is not None and self._table is None and time.monotonic() - since >= SETTLE_SECONDS:
                self._table = Table(view, self._max_bytes, self._max_words)
                await self._fill(self._table, current, make, speak)
            await asyncio.sleep(POLL_SECONDS)

    async def _fill(self, table: Table, current: Callable[[], View | None], make: Make, speak: Speak) -> None:
        """The users with the longest histories first, as many as memory is for."""
        view = table.view
        users = await asyncio.to_thread(_by_length, view, table.capacity)
        for user_row in users.tolist():
            if current() is not view:
                break
            asked, began = self._asked, time.perf_counter()
            user_id = view.served.snapshot.user_id(user_row)
            made = await self._workbench.run("ahead", partial(make, view, user_id), waits=view.served.waits)
            if made is not None:
                table.put(user_id, made)
                if (page := table.get(user_id, FIRST_PAGE)) is not None:
                    table.put_words(user_id, speak(view, user_id, page))
                self._metrics.ahead(table.count)
            await asyncio.sleep(0 if self._asked == asked else BUSY_FACTOR * (time.perf_counter() - began))


def _by_length(view: View, limit: int) -> NDArray[np.int64]:
    """Up to `limit` users with a history, the longest first; with many users that is no work for the event loop."""
    lengths = np.diff(view.served.snapshot.array("history_indptr"))
    order: NDArray[np.int64] = np.argsort(-lengths, kind="stable")[:limit]
    return order[lengths[order] > 0]
