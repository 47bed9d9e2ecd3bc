"""Ids of users and items: look-ups in both directions over three memory-mapped arrays, shared by all processes.

N ids in row order; `bytes` (B,) uint8, their UTF-8 one after the other; `offsets` (N+1,) int64, where each starts;
`order` (N,) int32, rows sorted by the bytes of their ids. Finding a row is a binary search.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_store.errors import InvalidContent, SnapshotCorrupt

MAX_ID_BYTES = 512
_BLOCK = 2**21  # elements of the largest temporary matrix
_WORTH_VECTORISING = 500  # fewer ids are found faster one by one: each step of the common search costs 0.1 ms


def encode_id(text: str) -> bytes:
    """UTF-8 of an id; raises ValueError if it is empty, longer than 512 bytes or no valid Unicode."""
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"expected an id in valid Unicode, found {text[:80]!r}") from None
    if not 0 < len(encoded) <= MAX_ID_BYTES:
        raise ValueError(f"expected an id of 1 to {MAX_ID_BYTES} bytes, found {len(encoded)}: {text[:80]!r}")
    return encoded


def id_arrays(ids: Sequence[str], kind: str) -> dict[str, NDArray[Any]]:
    """The three arrays for `ids`, under the names `<kind>_bytes`, `<kind>_offsets`, `<kind>_order`.

    Raises InvalidContent for an id that is empty, too long, no valid Unicode, or there twice.
    """
    encoded = []
    for row, text in enumerate(ids):
        try:
            encoded.append(encode_id(text))
        except ValueError as error:
            raise InvalidContent(f"{kind}, row {row}: {error}") from error
    order = sorted(range(len(encoded)), key=encoded.__getitem__)
    for first, second in pairwise(order):
        if encoded[first] == encoded[second]:
            raise InvalidContent(f"{kind}: expected distinct ids, found {ids[first]!r} in rows {first} and {second}")
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(text) for text in encoded], out=offsets[1:])
    return {
        f"{kind}_bytes": np.frombuffer(b"".join(encoded), np.uint8),
        f"{kind}_offsets": offsets,
        f"{kind}_order": np.asarray(order, np.int32),
    }


class IdTable:
    """Read-only table of N distinct ids in row order."""

    def __init__(self, text: NDArray[np.uint8], offsets: NDArray[np.int64], order: NDArray[np.int32]) -> None:
        """Wrap the three arrays; nothing is copied. `check` tells whether they are what they should be."""
        self._text, self._offsets, self._order = text, offsets, order
        # Indexing a memoryview yields plain ints and bytes several times faster than indexing an array.
        self._bytes, self._starts, self._sorted = text.data, offsets.data, order.data

    def __len__(self) -> int:
        return len(self._sorted)

    def __iter__(self) -> Iterator[str]:
        return (self.id_of(row) for row in range(len(self)))

    def id_of(self, row: int) -> str:
        """The id of a row; raises IndexError outside 0..N-1."""
        if not 0 <= row < len(self):
            raise IndexError(f"expected a row in 0..{len(self) - 1}, found {row}")
        return self._bytes_of(row).decode()

    def row_of(self, text: str) -> int | None:
        """The row of an id, None if there is no such id (nor could be)."""
        try:
            wanted = encode_id(text)
        except ValueError:
            return None
        place = bisect_left(self._sorted, wanted, key=self._bytes_of)
        if place == len(self) or self._bytes_of(row := self._sorted[place]) != wanted:
            return None
        return row

    def rows_of(self, ids: Sequence[str]) -> NDArray[np.int32]:
        """Rows (Q,) of many ids at once, -1 for the unknown; one binary search moves all of them together."""
        if len(ids) < _WORTH_VECTORISING or not len(self):
            found = map(self.row_of, ids)
            return np.asarray([-1 if row is None else row for row in found], np.int32)
        encoded = [_encoded_or_empty(text) for text in ids]
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        starts = np.cumsum(lengths) - lengths
        text = np.frombuffer(b"".join(encoded), np.uint8)
        low = np.zeros(len(encoded), np.int64)
        high = np.full(len(encoded), len(self) - 1)
        for _ in range(len(self).bit_length()):
            middle = (low + high) // 2
            less = self._compare_rows(self._order[middle], text, starts, lengths) < 0
            low = np.where(less & (low < high), middle + 1, low)
            high = np.where(less, high, middle)
        rows = self._order[low]
        return np.where(self._compare_rows(rows, text, starts, lengths) == 0, rows, -1).astype(np.int32)

    def rows_with_prefix(self, prefix: str, limit: int) -> NDArray[np.int32]:
        """Up to `limit` rows whose ids begin with `prefix`, sorted by id; an empty prefix gives the first ids."""
        wanted = prefix.encode("utf-8", "replace")
        size = len(wanted)
        first = bisect_left(self._sorted, wanted, key=self._bytes_of)
        last = bisect_right(self._sorted, wanted, lo=first, key=lambda row: self._bytes_of(row)[:size])
        return self._order[first : min(last, first + limit)].astype(np.int32)

    def check(self, where: str) -> None:
        """Raise SnapshotCorrupt unless this is a table of distinct, valid ids in a correct order. O(N)."""
        lengths = np.diff(self._offsets)
        if len(self._offsets) != len(self) + 1 or self._offsets[0] != 0 or self._offsets[-1] != len(self._text):
            raise SnapshotCorrupt(f"{where}_offsets", f"{len(self) + 1} offsets from 0 to {len(self._text)}", "others")
        if len(lengths) and not (0 < lengths.min() <= lengths.max() <= MAX_ID_BYTES):
            raise SnapshotCorrupt(f"{where}_offsets", f"ids of 1 to {MAX_ID_BYTES} bytes", "others")
        if not np.array_equal(np.sort(self._order), np.arange(len(self))):
            raise SnapshotCorrupt(f"{where}_order", "every row once", "others")
        if (self._text[self._offsets[:-1]] & 0xC0 == 0x80).any():
            raise SnapshotCorrupt(f"{where}_offsets", "ids that start with a character", "a cut inside one")
        try:
            self._text.tobytes().decode()
        except UnicodeDecodeError as error:
            raise SnapshotCorrupt(f"{where}_bytes", "UTF-8", str(error)) from error
        starts, before, after = self._offsets[:-1], self._order[:-1], self._order[1:]
        if len(self) > 1 and (self._compare_rows(before, self._text, starts[after], lengths[after]) >= 0).any():
            raise SnapshotCorrupt(f"{where}_order", "ids in ascending order", "another order, or an id twice")

    def _bytes_of(self, row: int) -> bytes:
        return bytes(self._bytes[self._starts[row] : self._starts[row + 1]])

    def _compare_rows(
        self,
        rows: NDArray[np.integer[Any]],
        text: NDArray[np.uint8],
        starts: NDArray[np.int64],
        lengths: NDArray[np.int64],
    ) -> NDArray[np.int8]:
        """Sign (Q,) of comparing each row's id with the string of `lengths` bytes at `starts` in `text`."""
        own_starts, own_lengths = self._offsets[rows], self._offsets[rows + 1] - self._offsets[rows]
        signs = np.zeros(len(rows), np.int8)
        width = int(min(own_lengths.max(initial=0), lengths.max(initial=0))) + 1
        step = max(1, _BLOCK // width)
        for begin in range(0, len(rows), step):
            part = slice(begin, begin + step)
            own = _padded(self._text, own_starts[part], own_lengths[part], width)
            other = _padded(text, starts[part], lengths[part], width)
            first = (own != other).argmax(1)[:, None]
            signs[part] = np.sign(np.take_along_axis(own - other, first, 1)[:, 0])
        return signs


def _encoded_or_empty(text: str) -> bytes:
    try:
        return encode_id(text)
    except ValueError:
        return b""  # compares unequal to every id


def _padded(
    text: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64], width: int
) -> NDArray[np.int16]:
    """The first `width` bytes of each string, -1 beyond its end: (Q, width)."""
    steps = np.arange(width)
    inside = steps < lengths[:, None]
    places = np.where(inside, starts[:, None] + steps, 0)
    if not len(text):
        return np.full(places.shape, -1, np.int16)
    return np.where(inside, text[places].astype(np.int16), np.int16(-1))
