"""Popularity that follows the news: the snapshot's, plus positive events that count half after each half-life.

Axes: `I` items of the snapshot, `A` added ones, `N` items with recent events.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from service.errors import StateUnavailable
from service.served import ServedSnapshot
from service.state.mirror import Mirror
from service.state.protocol import DailyCount, Edition
from service.view import View

log = logging.getLogger("magnet.trends")
PERIOD_SECONDS = 300
SECONDS_PER_DAY = 86400
HALF_LIVES_COUNTED = 8
PERIODS_KEPT = 4


@dataclass(frozen=True)
class Recent:
    """What recent events add to popularity, with the rows that one snapshot has for the items."""

    rows: NDArray[np.int64]
    """(N,), distinct."""
    amounts: NDArray[np.float64]
    """(N,)"""
    others: Mapping[str, float]
    """By item id, where the snapshot does not have the item."""


class Trends:
    """Counts of recent events, renewed every period. A period's counts never change, so that pages fit together.

    There are as many of them as items and days, so they are summed in a thread, once for each period and snapshot; what
    an edit of the live items leaves to do is to add the sums to the snapshot's popularity.
    """

    def __init__(self, mirror: Mirror, half_life_days: float) -> None:
        self._mirror = mirror
        self._half_life_days = half_life_days
        self._counts: Sequence[DailyCount] = ()
        self._amounts: OrderedDict[int, Mapping[str, float]] = OrderedDict({0: {}})
        """By period, what every item's recent events add."""
        self._recent: WeakKeyDictionary[ServedSnapshot, dict[int, Recent]] = WeakKeyDictionary()
        """The same of the snapshots in memory."""
        self._arrays: OrderedDict[tuple[str, Edition, int], NDArray[np.float32]] = OrderedDict()
        self._turn = asyncio.Lock()

    @property
    def period(self) -> int:
        """The newest period there are counts of."""
        return next(reversed(self._amounts))

    async def follow(self) -> None:
        """Renew the counts at the start of every period until cancelled."""
        while True:
            await asyncio.sleep(PERIOD_SECONDS - time.time() % PERIOD_SECONDS + 1)
            await self.renew(time.time())

    async def renew(self, now: float) -> None:
        """Count the events of the last days; the counts before stay where the store is unavailable."""
        period = int(now // PERIOD_SECONDS)
        today = int(now // SECONDS_PER_DAY)
        first_day = int(today - HALF_LIVES_COUNTED * self._half_life_days)
        counts = None
        try:  # outside of the turn: a snapshot that is being prepared does not wait for a slow store
            counts = await self._mirror.store.daily_counts(first_day, today)
        except StateUnavailable as error:
            log.warning("recent popularity is not renewed: %s", error.detail)
        async with self._turn:
            self._counts = self._counts if counts is None else counts
            amounts = await asyncio.to_thread(_summed, self._counts, period, self._half_life_days)
            recent = {served: await asyncio.to_thread(_recent, served, amounts) for served in list(self._recent)}
            self._amounts[period] = amounts
            self._amounts.move_to_end(period)
            while len(self._amounts) > PERIODS_KEPT:
                self._amounts.popitem(last=False)
            for served, found in recent.items():
                before = self._recent[served]
                self._recent[served] = {at: before[at] for at in self._amounts if at in before} | {period: found}

    async def prepare(self, served: ServedSnapshot) -> None:
        """Make ready what a snapshot needs before it is served."""
        async with self._turn:
            self._recent[served] = {
                period: await asyncio.to_thread(_recent, served, amounts)
                for period, amounts in list(self._amounts.items())
            }

    def popularity(self, view: View, period: int) -> NDArray[np.float32]:
        """(I+A,): popularity as of `period`, or as of the newest one where that is no longer known."""
        period = period if period in self._amounts else self.period
        key = (view.served.id, view.edition, period)
        found = self._arrays.get(key)
        if found is None:
            ready = self._recent.get(view.served, {}).get(period)
            found = self._arrays[key] = _with_recent(view, ready or _recent(view.served, self._amounts[period]))
            while len(self._arrays) > PERIODS_KEPT:
                self._arrays.popitem(last=False)
        return found


def _summed(counts: Sequence[DailyCount], period: int, half_life_days: float) -> Mapping[str, float]:
    """By item, its counts as they have decayed by `period`."""
    today = period * PERIOD_SECONDS / SECONDS_PER_DAY
    amounts: dict[str, float] = {}
    for entry in counts:
        age = max(today - (entry.day + 0.5), 0.0)
        amounts[entry.item_id] = amounts.get(entry.item_id, 0.0) + entry.count * 0.5 ** (age / half_life_days)
    return amounts


def _recent(served: ServedSnapshot, amounts: Mapping[str, float]) -> Recent:
    ids = list(amounts)
    rows = served.snapshot.item_ids.rows_of(ids).astype(np.int64)
    values = np.fromiter(amounts.values(), np.float64, len(amounts))
    others = {ids[place]: amounts[ids[place]] for place in np.flatnonzero(rows < 0).tolist()}
    return Recent(rows[rows >= 0], values[rows >= 0], others)


def _with_recent(view: View, recent: Recent) -> NDArray[np.float32]:
    """(I+A,)"""
    served = view.served
    if not len(recent.rows) and view.n_items == served.n_items:
        return served.popularity
    popularity = np.zeros(view.n_items, np.float32)
    popularity[: served.n_items] = served.popularity
    popularity[recent.rows] = served.popularity[recent.rows] + recent.amounts
    for item_id, row in view.added_rows.items():
        if item_id in recent.others:
            popularity[row] = recent.others[item_id]
    return popularity
