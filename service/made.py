"""What was made ahead of questions: rankings in millionths, and first pages in words.

Axes: `U` users, `R` ranks, `K` items, `S` numbers that one item can have, `M` modalities.

It is what the usual way would print, to the last digit: numbers as whole millionths, which is what they are rounded to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.printed import DECIMALS, Page
from service.view import View
from service.words import Words

PAGE = 20
"""The usual length of a page; the first one is kept in words, too."""
RANKS = 2 * PAGE
FIRST_PAGE = slice(0, PAGE)
ID_BYTES = 200
"""What it costs to find a user."""
_UNIT = 10.0**DECIMALS
_MOST = 2**31 - 1
_NO_NUMBER = -(2**31)


@dataclass(frozen=True)
class Made:
    """The ranks of a user of the snapshot."""

    page: Page
    available: int
    """How many items pass the user's filters at all."""
    user_row: int
    words: bytes | None = None
    """The page in words, where it is kept so: as `explain=experts` prints it."""


class RecordedPage(Page):
    """A page as a table keeps it; each of its fields is read when it is first asked for, and most never are."""

    def __init__(self, records: NDArray[Any]) -> None:
        """`records` (K,) are a table's."""
        self.__dict__["_records"] = records

    def __len__(self) -> int:
        return len(self.__dict__["_records"])

    def __getattr__(self, name: str) -> NDArray[Any]:
        """A field that was not asked for before."""
        records = self.__dict__["_records"]
        found: NDArray[Any]
        if name == "rows":
            found = records["row"].astype(np.int64)
        elif name == "chosen":
            found = records["chosen"].copy()
        elif name == "numbers":
            block = records["numbers"]
            found = block[block != _NO_NUMBER] / _UNIT
        elif name == "modality_amounts":
            found = records["amounts"] / _UNIT
        else:
            raise AttributeError(name)
        self.__dict__[name] = found
        return found

    @property
    def nbytes(self) -> int:
        """Bytes of memory of the records."""
        return int(self.__dict__["_records"].nbytes)


class Table:
    """What was made for up to `capacity` users: memory, which the system provides as it fills, and a file for words."""

    def __init__(self, view: View, max_bytes: int, max_words: int) -> None:
        self.view = view
        manifest = view.served.manifest
        gated = sum(term.role != "base" for term in manifest.terms)
        weighed = min(manifest.top_k_experts or gated, gated)
        numbers = 1 + len(manifest.terms) - gated + 2 * weighed
        chosen, modalities = (2 * len(manifest.terms) + 7) // 8, len(view.served.modalities)
        fields = [
            ("row", "i4"),
            ("numbers", "i4", (numbers,)),
            ("amounts", "i4", (modalities,)),
            ("chosen", "u1", (chosen,)),
        ]
        record = np.dtype(fields, align=True)
        self.capacity = min(view.served.snapshot.n_users, max_bytes // (ID_BYTES + RANKS * record.itemsize))
        self._places: dict[str, int | None] = {}
        self._records = np.zeros((self.capacity, RANKS), record)
        self._facts = np.zeros((self.capacity, 3), np.int32)
        """Of each user: how many ranks, how many items are available, and the row in the snapshot."""
        self._words = Words(self.capacity, max_words)
        self.count = 0

    def put(self, user_id: str, made: Made) -> None:
        """Keep up to `RANKS`; not where numbers do not fit, nor of a user who was forgotten meanwhile."""
        page = made.page
        filled = np.arange(self._records["numbers"].shape[2]) < page.counts[:, None]  # (R, S)
        largest = max(np.abs(page.numbers).max(initial=0), np.abs(page.modality_amounts).max(initial=0))
        fits = len(page) <= RANKS and filled.sum() == len(page.numbers) and largest * _UNIT < _MOST
        if user_id in self._places or not fits:
            return
        block = np.full(filled.shape, _NO_NUMBER)
        block[filled] = np.rint(page.numbers * _UNIT)
        records = self._records[self.count, : len(page)]
        records["row"], records["numbers"], records["chosen"] = page.rows, block, page.chosen
        records["amounts"] = np.rint(page.modality_amounts * _UNIT)
        self._facts[self.count] = len(page), made.available, made.user_row
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
        page = RecordedPage(self._records[place, ranks.start : min(ranks.stop, length)].copy())
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
