"""Rankings of known users, made ahead of their questions: after every swap, while nobody waits for anything else.

Axes: `U` users, `R` ranks, `S` numbers that one item can have, `M` modalities.

What is kept is what the usual way would print, to the last digit: every number as whole millionths, which is what it is
rounded to. A ranking holds for one snapshot with one version of the live items, and for a user of whom there are no
events; whoever asks for anything else is answered the usual way.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Set
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from service.printed import DECIMALS, Page
from service.telemetry import Metrics
from service.view import View
from service.workbench import Workbench

RANKS = 40
"""Two pages of the usual length."""
SETTLE_SECONDS = 3.0
"""How long the live items have to stay as they are before rankings are made from them."""
POLL_SECONDS = 0.25
BUSY_FACTOR = 4
"""While people ask, the work pauses for so many times as long as it worked: a fifth of a core at most."""
_UNIT = 10.0**DECIMALS
_MOST = 2**31 - 1
_NO_NUMBER = -(2**31)
ID_BYTES = 200
"""What it costs to find a user."""


@dataclass(frozen=True)
class Made:
    """The ranks of a user of the snapshot."""

    page: Page
    available: int
    """How many items pass the user's filters at all."""
    user_row: int


class Ahead:
    """The rankings of one view of the catalogue, and the task that makes them."""

    def __init__(self, workbench: Workbench, metrics: Metrics, max_bytes: int) -> None:
        self._workbench = workbench
        self._metrics = metrics
        self._max_bytes = max_bytes
        self._table: Table | None = None
        self._asked = 0

    def find(self, view: View, user_id: str, ranks: slice) -> Made | None:
        """These ranks (from 0) of a user without events, as the usual way would give them; None for who has none."""
        self._asked += 1
        table = self._table
        if table is None or table.view is not view or ranks.stop > RANKS:
            return None
        found = table.get(user_id, ranks)
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

    async def follow(self, current: Callable[[], View | None], make: Callable[[View, str], Made | None]) -> None:
        """Keep up with snapshots and live items until cancelled.

        `current()` is what is served; `make(view, user_id)` the usual way to a user's first `RANKS` ranks; None for
        somebody who was forgotten.
        """
        view, since = None, 0.0
        while self._max_bytes:
            newest = current()
            if newest is not view:
                same = view is not None and newest is not None and view.served is newest.served
                view, since, self._table = newest, time.monotonic() if same else 0.0, None
                self._metrics.ahead(0)
            if view is not None and self._table is None and time.monotonic() - since >= SETTLE_SECONDS:
                self._table = Table(view, self._max_bytes)
                await self._fill(self._table, current, make)
            await asyncio.sleep(POLL_SECONDS)

    async def _fill(
        self, table: Table, current: Callable[[], View | None], make: Callable[[View, str], Made | None]
    ) -> None:
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
                self._metrics.ahead(table.count)
            await asyncio.sleep(0 if self._asked == asked else BUSY_FACTOR * (time.perf_counter() - began))


def _by_length(view: View, limit: int) -> NDArray[np.int64]:
    """Up to `limit` users with a history, the longest first; with many users that is no work for the event loop."""
    lengths = np.diff(view.served.snapshot.array("history_indptr"))
    order: NDArray[np.int64] = np.argsort(-lengths, kind="stable")[:limit]
    return order[lengths[order] > 0]


class Table:
    """What was made for up to `capacity` users: one block of memory per kind, which the system provides as it fills."""

    def __init__(self, view: View, max_bytes: int) -> None:
        self.view = view
        manifest = view.served.manifest
        gated = sum(term.role != "base" for term in manifest.terms)
        weighed = min(manifest.top_k_experts or gated, gated)
        numbers = 1 + len(manifest.terms) - gated + 2 * weighed
        chosen, modalities = (2 * len(manifest.terms) + 7) // 8, len(view.served.modalities)
        size = ID_BYTES + RANKS * (4 + chosen + 4 * numbers + 4 * modalities)
        self.capacity = min(view.served.snapshot.n_users, max_bytes // size)
        self._places: dict[str, int | None] = {}
        self._available = np.zeros(self.capacity, np.int32)
        self._users = np.zeros(self.capacity, np.int32)
        self._lengths = np.zeros(self.capacity, np.uint8)
        self._rows = np.zeros((self.capacity, RANKS), np.int32)
        self._chosen = np.zeros((self.capacity, RANKS, chosen), np.uint8)
        self._numbers = np.zeros((self.capacity, RANKS, numbers), np.int32)
        self._amounts = np.zeros((self.capacity, RANKS, modalities), np.int32)
        self.count = 0

    def put(self, user_id: str, made: Made) -> None:
        """Keep up to `RANKS`; not where numbers do not fit, nor of a user who was forgotten meanwhile."""
        page, place = made.page, self.count
        filled = np.arange(self._numbers.shape[2]) < page.counts[:, None]  # (R, S)
        largest = max(np.abs(page.numbers).max(initial=0), np.abs(page.modality_amounts).max(initial=0))
        fits = len(page) <= RANKS and filled.sum() == len(page.numbers) and largest * _UNIT < _MOST
        if user_id in self._places or not fits:
            return
        items = slice(len(page))
        block = np.full(filled.shape, _NO_NUMBER)
        block[filled] = np.rint(page.numbers * _UNIT)
        self._numbers[place, items] = block
        self._rows[place, items] = page.rows
        self._chosen[place, items] = page.chosen
        self._amounts[place, items] = np.rint(page.modality_amounts * _UNIT)
        self._lengths[place], self._available[place], self._users[place] = len(page), made.available, made.user_row
        self._places[user_id] = place
        self.count += 1

    def get(self, user_id: str, ranks: slice) -> Made | None:
        """What was put for a user, at these ranks; nothing of it is the table's memory."""
        place = self._places.get(user_id)
        if place is None:
            return None
        items = slice(ranks.start, min(ranks.stop, int(self._lengths[place])))
        block = self._numbers[place, items]
        page = Page(
            self._rows[place, items].astype(np.int64),
            self._chosen[place, items].copy(),
            block[block != _NO_NUMBER] / _UNIT,
            self._amounts[place, items] / _UNIT,
        )
        return Made(page, int(self._available[place]), int(self._users[place]))

    def forget(self, user_id: str) -> None:
        """Take down what was put for a user, and overwrite it."""
        place = self._places.get(user_id)
        self._places[user_id] = None
        if place is not None:
            for array in (self._available, self._lengths, self._rows, self._chosen, self._numbers, self._amounts):
                array[place] = 0
