"""What answers print, before it is words: of items, of terms, and the numbers of a page in the order of its printing.

Axes: `K` items, `T` terms, `M` modalities, `N` numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

DECIMALS = 6


@dataclass(frozen=True)
class Display:
    """What an answer prints of an item."""

    item_id: str
    title: str | None
    image: str | None

    @cached_property
    def json(self) -> tuple[bytes, bytes]:
        """The members of its JSON object up to the value of `rank`, and those from `title` to `image`.

        As parts of a format: every `%` stands twice.
        """
        rest = orjson.dumps({"title": self.title, "image": self.image})
        before = b'{"item":' + orjson.dumps(self.item_id) + b',"rank":'
        return before.replace(b"%", b"%%"), b"," + rest[1:-1].replace(b"%", b"%%")


@dataclass(frozen=True)
class TermHead:
    """What an answer prints of a term, whatever the pair."""

    name: str
    role: str
    modalities: dict[str, float]


@dataclass(frozen=True)
class Page:
    """Ranked items with every number that is printed of them, rounded as printed.

    `numbers` holds item after item: the score, then weight and contribution of each term that the item has, in the
    order of the terms. A term without a gate has the weight NaN.
    """

    rows: NDArray[np.int64]  # (K,)
    chosen: NDArray[np.uint8]  # (K, ceil(T/8)) whose bits, the lowest first, say which terms an item has
    numbers: NDArray[np.float64]  # (N,)
    modality_amounts: NDArray[np.float64]  # (K, M)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def nbytes(self) -> int:
        """Bytes of memory of the arrays."""
        return sum(array.nbytes for array in (self.rows, self.chosen, self.numbers, self.modality_amounts))

    @property
    def counts(self) -> NDArray[np.int64]:
        """(K,) how many numbers each item has."""
        terms: NDArray[np.int64] = np.unpackbits(self.chosen, axis=1).sum(axis=1, dtype=np.int64)
        return 1 + 2 * terms

    @property
    def scores(self) -> NDArray[np.float64]:
        """(K,) the scores."""
        counts = self.counts
        found: NDArray[np.float64] = self.numbers[np.cumsum(counts) - counts]
        return found

    def terms_at(self, position: int, heads: list[TermHead]) -> list[dict[str, Any]]:
        """The terms of one item, as answers print them."""
        counts = self.counts
        start = int(counts[:position].sum())
        numbers = self.numbers[start : start + int(counts[position])].tolist()
        bits = np.unpackbits(self.chosen[position], bitorder="little")[: len(heads)].tolist()
        present = [head for head, bit in zip(heads, bits, strict=True) if bit]
        return [
            {
                "name": head.name,
                "role": head.role,
                "modalities": head.modalities,
                "weight": weight if weight == weight else None,
                "contribution": contribution,
            }
            for head, weight, contribution in zip(present, numbers[1::2], numbers[2::2], strict=True)
        ]

    def amounts_at(self, position: int, modalities: list[str]) -> dict[str, float]:
        """The amounts of one item by modality."""
        return dict(zip(modalities, self.modality_amounts[position].tolist(), strict=True))
