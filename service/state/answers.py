"""Answers kept for a while under their `recommendation_id`, in this worker's memory and where others find them."""

from __future__ import annotations

import logging
import secrets
import time
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from service.errors import StateUnavailable
from service.printed import Display, Page, TermHead
from service.state.protocol import StateStore
from service.state.shelf import Shelf

log = logging.getLogger("magnet.answers")
_RANDOM_BYTES = 10
_TIME_DIGITS = 12
OVERHEAD_BYTES = 600
"""What a kept answer costs beyond its arrays and items."""
SETTLE_SECONDS = 0.5
"""An answer younger than this may still wait to be written by its worker."""
ITEM_BYTES = 220
"""What an item's id, title and picture cost."""


PAGE_FIELDS = [field.name for field in fields(Page)]


@dataclass(frozen=True)
class KeptAnswer:
    """The printed values of one answer, and what is needed to explain them without the snapshot that gave them.

    Axes: `K` items, `T` terms, `M` modalities.
    """

    recommendation_id: str
    user_id: str | None
    user_version: int
    """Of the user's events that it was made from: void once the user was forgotten later."""
    snapshot_id: str
    strategy: str
    history_rows: NDArray[np.int32] | None
    """What the user was scored from, oldest first; None: what the snapshot says of `user_row`."""
    user_row: int | None
    displays: list[Display]  # (K,)
    inferred: list[list[str]]  # (K,) modalities
    heads: list[TermHead]  # (T,)
    modalities: list[str]  # (M,)
    faithfulness: dict[str, Any]
    """As the snapshot's manifest states it."""
    page: Page

    @property
    def size(self) -> int:
        """Bytes of memory, roughly."""
        history = 0 if self.history_rows is None else self.history_rows.nbytes
        return OVERHEAD_BYTES + ITEM_BYTES * len(self.displays) + history + self.page.nbytes

    def position_of(self, item_id: str) -> int | None:
        """Where an item stands in the answer; None if it is not in it."""
        return next((place for place, display in enumerate(self.displays) if display.item_id == item_id), None)

    def pack(self) -> bytes:
        """As bytes, for other workers."""
        displays = [(display.item_id, display.title, display.image) for display in self.displays]
        page = {name: getattr(self.page, name) for name in PAGE_FIELDS}
        packed = vars(self) | {"displays": displays, "heads": [vars(head) for head in self.heads], "page": page}
        return orjson.dumps(packed, option=orjson.OPT_SERIALIZE_NUMPY)

    @classmethod
    def unpack(cls, packed: bytes) -> KeptAnswer:
        """The answer that `pack` wrote."""
        found = orjson.loads(packed)
        page, history = found["page"], found["history_rows"]
        items, modalities = len(page["rows"]), len(found["modalities"])
        return cls(
            **found
            | {
                "history_rows": None if history is None else np.array(history, np.int32),
                "displays": [Display(*display) for display in found["displays"]],
                "heads": [TermHead(**head) for head in found["heads"]],
                "page": Page(
                    np.array(page["rows"], np.int64),
                    np.array(page["chosen"], np.uint8).reshape(items, -1),
                    np.array(page["numbers"], np.float64),
                    np.array(page["modality_amounts"], np.float64).reshape(items, modalities),
                ),
            }
        )


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


def may_come_within(recommendation_id: str) -> float:
    """For how many seconds its worker may still be about to write an answer; callers choose ids, so never for long.

    Clocks are set back: a birth in the future earns no longer wait than one just now.
    """
    born = born_at(recommendation_id)
    return 0.0 if born is None else max(min(born + SETTLE_SECONDS - time.time(), SETTLE_SECONDS), 0.0)


class Answers:
    """The answers of late: this worker's in memory, every worker's in the store where workers share one."""

    def __init__(self, store: StateStore, max_bytes: int, ttl_seconds: float) -> None:
        self._store = store
        self._ttl = ttl_seconds
        self.own: Shelf[KeptAnswer] = Shelf(max_bytes, ttl_seconds)

    def keep(self, answer: KeptAnswer) -> None:
        """Keep an answer; other workers find it a moment later."""
        self.own.put(answer.recommendation_id, answer, answer.size)
        if self._store.shares_answers:
            self._store.keep_answer(answer.recommendation_id, answer.user_id, answer.pack(), self._ttl)

    async def find(self, recommendation_id: str) -> KeptAnswer | None:
        """The answer, None once it has left or where the store that has it is unavailable."""
        found = self.own.get(recommendation_id)
        if found is not None or not self._store.shares_answers or born_at(recommendation_id) is None:
            return found
        try:
            packed = await self._store.kept_answer(recommendation_id)
        except StateUnavailable as error:
            log.warning("answer %s cannot be looked up: %s", recommendation_id, error.detail)
            return None
        return None if packed is None else KeptAnswer.unpack(packed)
