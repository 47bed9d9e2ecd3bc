"""What the router made of recent users, for the next page and `/explain`: who asks, and the terms of scored items.

Kept under snapshot, edition of the live items, user and version of the user's events, so that nothing stale is found.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Set
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_store.scoring import PairScores
from service.asking import Asker, RoutedKey, asker_for
from service.state.protocol import UserEvents
from service.telemetry import Metrics
from service.view import View

TABLES_KEPT = 3
"""Sets of candidates per user: as deep as usual, as deep as for a steered answer, and those behind the head."""
OVERHEAD_BYTES = 2000
EVENT_BYTES = 1400
"""The events of every version of a user are objects of their own."""


@dataclass(frozen=True)
class Routed:
    """One user: the events it was made from, and the scores so far, the newest last."""

    asker: Asker
    events: UserEvents
    tables: tuple[PairScores, ...] = ()

    @property
    def bytes(self) -> int:
        """About how much memory this takes."""
        asker = self.asker
        arrays: list[NDArray[Any]] = [asker.seen, asker.unwanted, asker.history_rows]
        if self.tables and (state := asker.state) is not None:  # not before a table needed it
            arrays += [state.vector, state.logits, state.item_item.rows, state.item_item.amounts]
        for table in self.tables:
            arrays += [table.item_rows, table.contributions, table.weights, table.amounts]
        return OVERHEAD_BYTES + sum(array.nbytes for array in arrays) + EVENT_BYTES * len(self.events.events)


class RoutedUsers:
    """The least recently used leave first; bounded in bytes. Threads share it."""

    def __init__(self, max_bytes: int, metrics: Metrics) -> None:
        self._kept: OrderedDict[RoutedKey, Routed] = OrderedDict()
        self._max_bytes = max_bytes
        self._metrics = metrics
        self._lock = Lock()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def asker(self, view: View, user_id: str, events: UserEvents, at_version: int | None = None) -> Asker:
        """As `asker_for`, which is asked only where the answer is not kept."""
        limit = events.version if at_version is None else at_version
        key = RoutedKey(view.served.id, view.edition, user_id, limit)
        found = self._find(key)
        # A store that lost its memory counts versions from the beginning again: the events decide.
        if found is not None and (found.events is events or found.events == events):
            self._metrics.cache("users", hit=True)
            return found.asker
        self._metrics.cache("users", hit=False)
        asker = asker_for(view, user_id, events, at_version)
        self._put(key, Routed(asker, events))
        return asker

    def score(self, view: View, asker: Asker, rows: NDArray[np.int64]) -> PairScores:
        """As `view.score`, for a user with a history; the same candidates are scored once."""
        assert asker.state is not None
        found = self._of(view, asker)
        if found is None:
            return view.score(asker.state, rows)
        table = next((table for table in found.tables if np.array_equal(table.item_rows, rows)), None)
        self._metrics.cache("scores", hit=table is not None)
        if table is None:
            table = view.score(asker.state, rows)
            self._add(asker, table)
        return table

    def score_pair(self, view: View, asker: Asker, row: int) -> PairScores:
        """The terms of one item: the very values of the newest answer that scored it, computed where none did."""
        assert asker.state is not None
        found = self._of(view, asker)
        for table in reversed(found.tables if found is not None else ()):
            if len(at := np.flatnonzero(table.item_rows == row)):
                self._metrics.cache("scores", hit=True)
                return PairScores(table.item_rows[at], table.contributions[at], table.weights[at], table.amounts[at])
        self._metrics.cache("scores", hit=False)
        return view.score(asker.state, np.array([row], np.int64))

    def forget(self, users: Set[str]) -> None:
        """Take down whatever is kept of these users."""
        with self._lock:
            for key in [key for key in self._kept if key.user_id in users]:
                self.bytes -= self._kept.pop(key).bytes

    def keep_only(self, snapshot_id: str | None) -> None:
        """Let go of what was made from any other snapshot: it would keep that one in memory, index and all."""
        with self._lock:
            for key in [key for key in self._kept if key.snapshot_id != snapshot_id]:
                self.bytes -= self._kept.pop(key).bytes

    def _of(self, view: View, asker: Asker) -> Routed | None:
        """The entry of this very asker; None where it has left, or where `view` is not the one it was made for."""
        key = asker.routed
        if key is None or (key.snapshot_id, key.edition) != (view.served.id, view.edition):
            return None
        found = self._find(key)
        return found if found is not None and found.asker is asker else None

    def _find(self, key: RoutedKey) -> Routed | None:
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def _add(self, asker: Asker, table: PairScores) -> None:
        key = asker.routed
        with self._lock:
            found = self._kept.get(key) if key is not None else None
        if key is not None and found is not None and found.asker is asker:
            self._put(key, replace(found, tables=(*found.tables, table)[-TABLES_KEPT:]))

    def _put(self, key: RoutedKey, routed: Routed) -> None:
        with self._lock:
            if (before := self._kept.pop(key, None)) is not None:
                self.bytes -= before.bytes
            if routed.bytes > self._max_bytes:
                return  # everybody else would have to leave for it
            self._kept[key] = routed
            self.bytes += routed.bytes
            while self.bytes > self._max_bytes:
                self.bytes -= self._kept.popitem(last=False)[1].bytes
