"""Answers kept for a while under their `recommendation_id`, in this worker's memory and where others find them."""

from __future__ import annotations

import logging
import secrets
import time
from typing import NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from service.errors import StateUnavailable
from service.imprint import Imprint
from service.printed import Display, LiveDisplay, Page
from service.records import Form, RecordedPage
from service.state.protocol import StateStore
from service.state.shelf import Shelf

log = logging.getLogger("magnet.answers")
_RANDOM_BYTES = 10
_TIME_DIGITS = 12
_END = b"\n"
"""Between the facts, in JSON, which has no line ends here, and the records."""
OVERHEAD_BYTES = 300
"""What a kept answer costs in memory beyond its bytes."""
SETTLE_SECONDS = 0.5
"""An answer younger than this may still wait to be written by its worker."""


class KeptAnswer(NamedTuple):
    """The printed values of one answer; with the imprint of its snapshot they are the answer as it was shown."""

    user_id: str | None
    user_version: int
    """Of the user's events that it was made from: void once the user was forgotten later."""
    snapshot_id: str
    strategy: str
    user_row: int | None
    """Whose history in the snapshot the user was scored from."""
    history_rows: NDArray[np.int32] | None
    """What the user was scored from, oldest first, where it is not that."""
    live: list[LiveDisplay]
    """The items that are not shown as the snapshot has them."""
    page: Page

    def find(self, item_id: str, imprint: Imprint) -> LiveDisplay | None:
        """An item of the answer, as it was shown; None if it is not in it. `imprint` is that of `snapshot_id`."""
        for found in self.live:
            if found[1].item_id == item_id:
                return found
        row = imprint.item_row(item_id)
        places = [] if row is None else np.flatnonzero(self.page.rows == row).tolist()
        return (places[0], imprint.display(row), []) if row is not None and places else None

    def pack(self) -> bytes:
        """As bytes."""
        page = RecordedPage.of(self.page)
        form = page.form
        live = [(at, item.item_id, item.title, item.image, inferred) for at, item, inferred in self.live]
        history = None if self.history_rows is None else self.history_rows.tolist()
        layout = (form.whole, form.numbers, form.modalities, form.chosen)
        return orjson.dumps((*self[:5], history, live, layout)) + _END + page.data

    @classmethod
    def unpack(cls, packed: bytes) -> KeptAnswer:
        """The answer that `pack` wrote."""
        head, _, data = packed.partition(_END)
        user_id, version, snapshot_id, strategy, user_row, history, live, layout = orjson.loads(head)
        rows = None if history is None else np.array(history, np.int32)
        shown = [(at, Display(item_id, title, image), inferred) for at, item_id, title, image, inferred in live]
        page = RecordedPage(Form(*layout), data)
        return cls(user_id, version, snapshot_id, strategy, user_row, rows, shown, page)


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
        self.own: Shelf[tuple[str | None, bytes]] = Shelf(max_bytes, ttl_seconds)
        """Whose answer it is, and the answer in bytes: nothing that the garbage collector would have to look at."""

    def keep(self, recommendation_id: str, answer: KeptAnswer) -> None:
        """Keep an answer; other workers find it a moment later."""
        packed = answer.pack()
        self.own.put(recommendation_id, (answer.user_id, packed), len(packed) + OVERHEAD_BYTES)
        if self._store.shares_answers:
            self._store.keep_answer(recommendation_id, answer.user_id, packed, self._ttl)

    async def find(self, recommendation_id: str) -> KeptAnswer | None:
        """The answer, None once it has left or where the store that has it is unavailable."""
        if (found := self.own.get(recommendation_id)) is not None:
            return KeptAnswer.unpack(found[1])
        if not self._store.shares_answers or born_at(recommendation_id) is None:
            return None
        try:
            packed = await self._store.kept_answer(recommendation_id)
        except StateUnavailable as error:
            log.warning("answer %s cannot be looked up: %s", recommendation_id, error.detail)
            return None
        try:
            return None if packed is None else KeptAnswer.unpack(packed)
        except ValueError:
            log.warning("answer %s is not readable: a worker of another version kept it", recommendation_id)
            return None
