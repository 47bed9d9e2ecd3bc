"""Pages as bytes, one record of the same size for each item: what is made ahead is kept so, and what was shown.

Axes: `K` items, `S` numbers that one item can have, `M` modalities.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.printed import DECIMALS, Page

_UNIT = 10.0**DECIMALS
_MOST = 2**31 - 1


@dataclass(frozen=True)
class Form:
    """How a record is laid out."""

    whole: bool
    """Numbers as millionths in 32 bits, which is exact, for they are rounded to these; else as doubles."""
    numbers: int  # S
    modalities: int  # M
    chosen: int
    """Bytes of `Page.chosen`."""

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """As NumPy's structured type."""
        number = "<i4" if self.whole else "<f8"
        fields = [
            ("row", "<i4"),
            ("numbers", number, (self.numbers,)),
            ("amounts", number, (self.modalities,)),
            ("chosen", "u1", (self.chosen,)),
        ]
        return np.dtype(fields, align=True)

    def records(self, page: Page) -> NDArray[Any] | None:
        """`page` in this form (K,); None where it does not fit."""
        filled = self.filled(page.counts)
        if filled.sum() != len(page.numbers):
            return None
        largest = max(np.abs(page.numbers).max(initial=0), np.abs(page.modality_amounts).max(initial=0))
        if self.whole and largest * _UNIT >= _MOST:
            return None
        records = np.zeros(len(page), self.dtype)
        records["row"], records["chosen"] = page.rows, page.chosen
        records["numbers"][filled] = np.rint(page.numbers * _UNIT) if self.whole else page.numbers
        records["amounts"] = np.rint(page.modality_amounts * _UNIT) if self.whole else page.modality_amounts
        return records

    def filled(self, counts: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(K, S): which numbers there are of items that have so many each (K,)."""
        found: NDArray[np.bool_] = np.arange(self.numbers) < counts[:, None]
        return found


class RecordedPage(Page):
    """A page in records; each of its fields is read when it is first asked for, and most never are."""

    form: Form
    data: bytes

    def __init__(self, form: Form, data: bytes) -> None:
        self.__dict__.update(form=form, data=data)

    @classmethod
    def of(cls, page: Page) -> RecordedPage:
        """Any page, number by number as it is."""
        if isinstance(page, RecordedPage):
            return page
        form = Form(False, int(page.counts.max(initial=1)), page.modality_amounts.shape[1], page.chosen.shape[1])
        records = form.records(page)
        assert records is not None
        return cls(form, records.tobytes())

    def __len__(self) -> int:
        return len(self.data) // self.form.dtype.itemsize

    def __getattr__(self, name: str) -> NDArray[Any]:
        """A field that was not asked for before."""
        form, records = self.form, np.frombuffer(self.data, self.form.dtype)
        found: NDArray[Any]
        if name == "rows":
            found = records["row"].astype(np.int64)
        elif name == "chosen":
            found = records["chosen"].copy()
        elif name == "numbers":
            found = records["numbers"][form.filled(self.counts)]
        elif name == "modality_amounts":
            found = records["amounts"]
        else:
            raise AttributeError(name)
        if form.whole and name in ("numbers", "modality_amounts"):
            found = found / _UNIT
        self.__dict__[name] = found
        return found
