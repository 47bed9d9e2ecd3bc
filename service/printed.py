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
    def before(self) -> bytes:
        """The end of the object before its own, and its members up to the value of `rank`.

        As a part of a format: every `%` stands twice.
        """
        return b'},{"item":' + orjson.dumps(self.item_id).replace(b"%", b"%%") + b',"rank":'

    @cached_property
    def after(self) -> bytes:
        """The members from `title` to `image`, as part of a format."""
        return b"," + orjson.dumps({"title": self.title, "image": self.image})[1:-1].replace(b"%", b"%%")

    def make(self) -> None:
        """Make these parts before anybody waits for them."""
        assert self.before
        assert self.after


LiveDisplay = tuple[int, Display, list[str]]
"""Position in a page, what it prints of the item there, and the modalities whose evidence is inferred."""


@dataclass(frozen=True)
class TermHead:
    """What an answer prints of a term, whatever the pair."""

    name: str
    role: str
    modalities: dict[str, float]


@dataclass(frozen=True)
class Page:
    """Ranked items with every number that is printed of them, rounded as printed.

    `numbers` holds item after item: the score, then of each term that the item has, in the order of the terms, its
    weight, where it has one, and its contribution.
    """

    rows: NDArray[np.int64]  # (K,)
    chosen: NDArray[np.uint8]  # (K, ceil(2T/8)): the first T bits say which terms an item has, the next which weights
    numbers: NDArray[np.float64]  # (N,)
    modality_amounts: NDArray[np.float64]  # (K, M)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def counts(self) -> NDArray[np.int64]:
        """(K,) how many numbers each item has."""
        chosen: NDArray[np.int64] = np.unpackbits(self.chosen, axis=1).sum(axis=1, dtype=np.int64)
        return 1 + chosen

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
        numbers = iter(self.numbers[start + 1 : start + int(counts[position])].tolist())
        bits = np.unpackbits(self.chosen[position], bitorder="little").tolist()
        return [
            {
                "name": head.name,
                "role": head.role,
                "modalities": head.modalities,
                "weight": next(numbers) if bits[len(heads) + place] else None,
                "contribution": next(numbers),
            }
            for place, head in enumerate(heads)
            if bits[place]
        ]

    def amounts_at(self, position: int, modalities: list[str]) -> dict[str, float]:
        """The amounts of one item by modality."""
        return dict(zip(modalities, self.modality_amounts[position].tolist(), strict=True))
