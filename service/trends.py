"""Popularity that follows the news: the snapshot's, plus positive events that count half after each half-life."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from service.errors import StateUnavailable
from service.state.mirror import Mirror
from service.state.protocol import DailyCount
from service.view import View

log = logging.getLogger("magnet.trends")
PERIOD_SECONDS = 300
SECONDS_PER_DAY = 86400
HALF_LIVES_COUNTED = 8
PERIODS_KEPT = 4


class Trends:
    """Counts of recent events, renewed every period. A period's counts never change, so that pages fit together."""

    def __init__(self, mirror: Mirror, half_life_days: float) -> None:
        self._mirror = mirror
        self._half_life_days = half_life_days
        self._counts: OrderedDict[int, list[DailyCount]] = OrderedDict({0: []})
        self._arrays: OrderedDict[tuple[str, tuple[int, int], int], NDArray[np.float32]] = OrderedDict()

    @property
    def period(self) -> int:
        """The newest period there are counts of."""
        return next(reversed(self._counts))

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
        try:
            counts = await self._mirror.store.daily_counts(first_day, today)
        except StateUnavailable as error:
            log.warning("recent popularity is not renewed: %s", error.detail)
            counts = self._counts[self.period]
        self._counts[period] = counts
        self._counts.move_to_end(period)
        while len(self._counts) > PERIODS_KEPT:
            self._counts.popitem(last=False)

    def popularity(self, view: View, period: int) -> NDArray[np.float32]:
        """(I+A,): popularity as of `period`, or as of the newest one where that is no longer known."""
        period = period if period in self._counts else self.period
        key = (view.served.id, view.edition, period)
        found = self._arrays.get(key)
        if found is None:
            found = self._arrays[key] = self._with_counts(view, period)
            while len(self._arrays) > PERIODS_KEPT:
                self._arrays.popitem(last=False)
        return found

    def _with_counts(self, view: View, period: int) -> NDArray[np.float32]:
        served = view.served
        if not self._counts[period] and view.n_items == served.n_items:
            return served.popularity
        popularity = np.zeros(view.n_items)
        popularity[: served.n_items] = served.popularity
        today = period * PERIOD_SECONDS / SECONDS_PER_DAY
        for entry in self._counts[period]:
            row = view.item_row(entry.item_id)
            if row is not None:
                age = max(today - (entry.day + 0.5), 0.0)
                popularity[row] += entry.count * 0.5 ** (age / self._half_life_days)
        return popularity.astype(np.float32)
