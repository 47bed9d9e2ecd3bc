"""What was made ahead of questions: rankings in millionths, and first pages in words.

It is what the usual way would print, to the last digit.
"""

from __future__ import annotations

import mmap
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.printed import Page
from service.records import Form, RecordedPage
from service.view import View
from service.words import Words

PAGE = 20
"""The usual length of a page; the first one is kept in words, too."""
RANKS = 2 * PAGE
FIRST_PAGE = slice(0, PAGE)
ID_BYTES = 200
"""What it costs to find a user."""


@dataclass(frozen=True)
class Made:
    """The ranks of a user of the snapshot."""

    page: Page
    available: int
    """How many items pass the user's filters at all."""
    user_row: int
    words: bytes | None = None
    """The page in words, where it is kept so: as `explain=experts` prints it."""


class Table:
    """What was made for up to `capacity` users: memory, which the system provides as it fills, and a file for words."""

    def __init__(self, view: View, max_bytes: int, max_words: int) -> None:
        self.view = view
        manifest = view.served.manifest
        gated = sum(term.role != "base" for term in manifest.terms)
        weighed = min(manifest.top_k_experts or gated, gated)
        numbers = 1 + len(manifest.terms) - gated + 2 * weighed
        self._form = Form(True, numbers, len(view.served.modalities), (2 * len(manifest.terms) + 7) // 8)
        record = self._form.dtype
        self.capacity = min(view.served.snapshot.n_users, max_bytes // (ID_BYTES + RANKS * record.itemsize))
        self._places: dict[str, int | None] = {}
        self._records = _small_pages(self.capacity * RANKS, record).reshape(self.capacity, RANKS)
        self._facts = np.zeros((self.capacity, 3), np.int32)
        """Of each user: how many ranks, how many items are available, and the row in the snapshot."""
        self._words = Words(self.capacity, max_words)
        self.count = 0

    def put(self, user_id: str, made: Made) -> None:
        """Keep up to `RANKS`; not where numbers do not fit, nor of a user who was forgotten meanwhile."""
        records = self._form.records(made.page) if len(made.page) <= RANKS else None
        if user_id in self._places or records is None:
            return
        self._records[self.count, : len(records)] = records
        self._facts[self.count] = len(records), made.available, made.user_row
        self._places[user_id] = self.count
        self.count += 1

    def put_words(self, user_id: str, words: bytes) -> None:
        """Keep the first page of a user in words as well, as long as there is room."""
        place = self._places.get(user_id)
        if place is not None:
            self._words.put(place, words)

    def get(self, user_id: str, ranks: slice, *, in_words: bool = False) -> Made | None:
        """What was put for a user, at these ranks; nothing of it is the table's memory."""
        place = self._places.get(user_id)
        if place is None:
            return None
        length, available, user_row = self._facts[place].tolist()
        page = RecordedPage(self._form, self._records[place, ranks.start : min(ranks.stop, length)].tobytes())
        words = self._words.get(place) if in_words and ranks == FIRST_PAGE else None
        return Made(page, available, user_row, words)

    def forget(self, user_id: str) -> None:
        """Take down what was put for a user, and overwrite it."""
        place = self._places.get(user_id)
        self._places[user_id] = None
        if place is not None:
            self._records[place] = 0
            self._facts[place] = 0
            self._words.forget(place)


def _small_pages(count: int, record: np.dtype[Any]) -> NDArray[Any]:
    """Zeros (count,) in memory that the system provides as it fills, and in small pages: a huge one takes it 5 ms."""
    memory = mmap.mmap(-1, max(count * record.itemsize, 1))
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        with suppress(OSError):  # a kernel without huge pages
            memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, record, count)
