"""Answers kept for a while under their `recommendation_id`, bounded in memory and in time."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_store.scoring import UserState

_RANDOM_BYTES = 10
_TIME_DIGITS = 12
OVERHEAD_BYTES = 600
"""What a kept answer costs beyond its arrays."""


@dataclass(frozen=True)
class KeptAnswer:
    """The printed values of one answer, and what is needed to say more about them.

    Axes: `K` items, `T` terms, `M` modalities.
    """

    recommendation_id: str
    user_id: str | None
    snapshot_id: str
    strategy: str
    rows: NDArray[np.int64]  # (K,)
    contributions: NDArray[np.float64]  # (K, T), rounded as printed
    weights: NDArray[np.float32]  # (K, T)
    modality_amounts: NDArray[np.float64]  # (K, M), rounded as printed
    state: UserState | None
    """What the user was scored from; None for a popular answer."""

    @property
    def size(self) -> int:
        """Bytes of memory, roughly."""
        arrays: list[NDArray[Any]] = [self.rows, self.contributions, self.weights, self.modality_amounts]
        if self.state is not None:
            base = self.state.item_item
            arrays += [self.state.history_rows, self.state.vector, self.state.logits, base.rows, base.amounts]
        return OVERHEAD_BYTES + sum(array.nbytes for array in arrays)

    def position_of(self, item_row: int) -> int | None:
        """Where an item stands in the answer; None if it is not in it."""
        places = np.flatnonzero(self.rows == item_row)
        return int(places[0]) if len(places) else None


def new_recommendation_id(now: float) -> str:
    """A fresh id that begins with its time of birth (seconds since the epoch, kept to the millisecond)."""
    return f"{int(now * 1000):0{_TIME_DIGITS}x}{secrets.token_hex(_RANDOM_BYTES)}"


def born_at(recommendation_id: str) -> float | None:
    """When an id was made, in seconds since the epoch; None for what no `new_recommendation_id` made."""
    if len(recommendation_id) != _TIME_DIGITS + 2 * _RANDOM_BYTES:
        return None
    try:
        int(recommendation_id, 16)
        return int(recommendation_id[:_TIME_DIGITS], 16) / 1000
    except ValueError:
        return None


class AnswerShelf:
    """Answers of this process: the oldest leave when memory or time runs out."""

    def __init__(self, max_bytes: int, ttl_seconds: float, clock: Callable[[], float] = time.time) -> None:
        self._kept: OrderedDict[str, tuple[float, KeptAnswer]] = OrderedDict()
        self._max_bytes = max_bytes
        self._ttl = ttl_seconds
        self._clock = clock
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, answer: KeptAnswer) -> None:
        """Keep an answer."""
        now = self._clock()
        self._kept[answer.recommendation_id] = (now + self._ttl, answer)
        self.bytes += answer.size
        while self._kept:
            expires, oldest = next(iter(self._kept.values()))
            if self.bytes <= self._max_bytes and expires > now:
                break
            del self._kept[oldest.recommendation_id]
            self.bytes -= oldest.size

    def get(self, recommendation_id: str) -> KeptAnswer | None:
        """The answer, or None once it has left."""
        entry = self._kept.get(recommendation_id)
        return entry[1] if entry is not None and entry[0] > self._clock() else None
