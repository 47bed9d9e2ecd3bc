"""Rankings of known users, made ahead of their questions: after every swap, while nobody waits for anything else.

Axes: `U` users, `R` ranks, `T` terms, `S` terms that one item can have, `M` modalities.

What is kept is what the usual way would print, to the last digit: amounts as whole millionths, which is what they are
rounded to. A ranking holds for one snapshot with one version of the live items, and for a user of whom there are no
events; whoever asks for anything else is answered the usual way.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from service.ranking import DECIMALS, Ranking
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
_NOWHERE = -1


class Ahead:
    """The rankings of one view of the catalogue, and the task that makes them."""

    def __init__(self, workbench: Workbench, metrics: Metrics, max_bytes: int) -> None:
        self._workbench = workbench
        self._metrics = metrics
        self._max_bytes = max_bytes
        self._table: Table | None = None
        self._asked = 0

    def find(self, view: View, user_row: int | None, ranks: slice) -> Ranking | None:
        """These ranks (from 0) of a user without events, as the usual way would give them; None for everybody else."""
        self._asked += 1
        table = self._table
        if table is None or table.view is not view or user_row is None or ranks.stop > RANKS:
            return None
        found = table.get(user_row, ranks)
        self._metrics.cache("ahead", hit=found is not None)
        return found

    def find_pair(self, view: View, user_row: int | None, item_row: int) -> Ranking | None:
        """The one item as it stands in the user's ranking; None where it is not among the first."""
        first = self.find(view, user_row, slice(0, RANKS))
        if first is None:
            return None
        at = np.flatnonzero(first.rows == item_row)
        return first.at(at) if len(at) else None

    async def follow(self, current: Callable[[], View | None], make: Callable[[View, int], Ranking]) -> None:
        """Keep up with snapshots and live items until cancelled.

        `current()` is what is served; `make(view, user_row)` the usual way to at least `RANKS` ranks of a user.
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
        self, table: Table, current: Callable[[], View | None], make: Callable[[View, int], Ranking]
    ) -> None:
        """The users with the longest histories first, as many as memory is for."""
        view = table.view
        lengths = np.diff(view.served.snapshot.array("history_indptr"))
        for user_row in np.argsort(-lengths, kind="stable")[: table.capacity].tolist():
            if current() is not view or lengths[user_row] == 0:
                break
            asked, began = self._asked, time.perf_counter()
            table.put(
                user_row, await self._workbench.run("ahead", partial(make, view, user_row), waits=view.served.waits)
            )
            self._metrics.ahead(table.count)
            await asyncio.sleep(0 if self._asked == asked else BUSY_FACTOR * (time.perf_counter() - began))


class Table:
    """Rankings of up to `capacity` users in one block of memory per number, which the system provides as it fills."""

    def __init__(self, view: View, max_bytes: int) -> None:
        self.view = view
        manifest = view.served.manifest
        gated = np.array([term.role != "base" for term in manifest.terms])
        self._ungated = np.where(gated, np.float32(0), np.float32(np.nan))
        chosen = min(manifest.top_k_experts or len(gated), int(gated.sum()))
        terms, modalities = int((~gated).sum()) + chosen, len(view.served.modalities)
        users = view.served.snapshot.n_users
        self.capacity = min(users, max_bytes // (RANKS * (4 + 4 * modalities + 9 * terms)))
        self._rows = np.zeros((self.capacity, RANKS), np.int32)
        self._amounts = np.zeros((self.capacity, RANKS, modalities), np.int32)
        self._terms = np.zeros((self.capacity, RANKS, terms), np.uint8)
        self._contributions = np.zeros((self.capacity, RANKS, terms), np.int32)
        self._weights = np.zeros((self.capacity, RANKS, terms), np.float32)
        self._lengths = np.zeros(self.capacity, np.uint8)
        self._places = np.full(users, _NOWHERE, np.int32)
        self.count = 0

    def put(self, user_row: int, ranking: Ranking) -> None:
        """Keep the first `RANKS`; not those of a user whose numbers do not fit, who is answered the usual way."""
        first = ranking.at(slice(RANKS))
        present = (first.contributions != 0) | (first.weights > 0)
        largest = max(np.abs(first.contributions).max(initial=0), np.abs(first.modality_amounts).max(initial=0))
        count = self._terms.shape[2]
        if present.sum(axis=1).max(initial=0) > count or largest * _UNIT > _MOST:
            return
        at = (self.count, slice(len(first)))
        terms = np.argsort(~present, axis=1, kind="stable")[:, :count]
        self._rows[at] = first.rows
        self._amounts[at] = np.rint(first.modality_amounts * _UNIT)
        self._terms[at] = terms
        self._contributions[at] = np.rint(np.take_along_axis(first.contributions, terms, axis=1) * _UNIT)
        self._weights[at] = np.take_along_axis(first.weights, terms, axis=1)
        self._lengths[self.count] = len(first)
        self._places[user_row] = self.count
        self.count += 1

    def get(self, user_row: int, ranks: slice) -> Ranking | None:
        """What was put for a user, at these ranks."""
        place = self._places[user_row]
        if place == _NOWHERE:
            return None
        at = (place, slice(ranks.start, min(ranks.stop, self._lengths[place])))
        rows, terms = self._rows[at].astype(np.int64), self._terms[at]
        lines = np.arange(len(rows))[:, None]
        contributions = np.zeros((len(rows), len(self._ungated)))
        contributions[lines, terms] = self._contributions[at] / _UNIT
        weights = np.empty(contributions.shape, np.float32)
        weights[:] = self._ungated
        weights[lines, terms] = self._weights[at]
        scores = np.round(contributions.sum(axis=1), DECIMALS)
        return Ranking(rows, scores, contributions, weights, self._amounts[at] / _UNIT)
