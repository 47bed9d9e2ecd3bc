"""The catalogue as one request sees it: the snapshot's items with what was hidden, changed and added since. Immutable.

Rows 0..I-1 are the snapshot's items, I..I+A-1 the added ones.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from model_store.items import ItemInfo
from model_store.scoring import Because, PairScores, UserState
from service.added import AddedItems
from service.new_items import EncodedItem
from service.printed import Display, LiveDisplay, Page
from service.served import ServedSnapshot
from service.state.protocol import Edition

MASKS_KEPT = 16
NO_ROWS = np.zeros(0, np.int64)
NOTHING_LIVE = Edition()


@dataclass(frozen=True)
class LiveRow:
    """What the live catalogue says about one item."""

    info: ItemInfo | None
    """What was put; None for an item that was only hidden."""
    version: int
    hidden: bool
    encoded: EncodedItem | None = None
    """Only for an item that is not in the snapshot."""


class View:
    """One snapshot with one version of the live items."""

    def __init__(
        self, served: ServedSnapshot, live: Mapping[str, LiveRow] | None = None, edition: Edition = NOTHING_LIVE
    ) -> None:
        live = live or {}
        self.served = served
        self.version = edition.version
        """The newest change to any item that this shows."""
        self.edition = edition
        """No two states of the live items share one."""
        base = served.snapshot.item_row
        changed = {row: item for item_id, item in live.items() if (row := base(item_id)) is not None}
        new = {item_id: item for item_id, item in live.items() if item.encoded is not None and base(item_id) is None}
        self._changed = {row: item.info for row, item in changed.items() if item.info is not None}
        self._added_ids = list(new)
        self.added_rows = {item_id: served.n_items + place for place, item_id in enumerate(new)}
        """By id, the rows of the added items."""
        self._added_infos = [item.info or ItemInfo(item_id, None, (), None, None) for item_id, item in new.items()]
        self._displays = {row: Display(info.item_id, info.title, info.image) for row, info in self.added_texts()}
        self._encoded = [item.encoded for item in new.values() if item.encoded is not None]
        self._added = AddedItems(served.snapshot, self._encoded) if self._encoded else None
        self.n_items = served.n_items + len(new)
        hidden = {row: item.version for row, item in changed.items() if item.hidden}
        hidden |= {self.added_rows[item_id]: item.version for item_id, item in new.items() if item.hidden}
        self._hidden = np.array(sorted(hidden.items()), np.int64).reshape(-1, 2)
        self._added_versions = np.array([item.version for item in new.values()], np.int64)
        # A cache that held the view would keep it, and with it the snapshot, until the next full collection.
        self.in_categories = lru_cache(maxsize=MASKS_KEPT)(partial(View._in_categories, weakref.proxy(self)))

    def item_row(self, item_id: str) -> int | None:
        """The row of an item, hidden or not; None if unknown."""
        row = self.served.snapshot.item_row(item_id)
        return self.added_rows.get(item_id) if row is None else row

    def is_hidden(self, row: int) -> bool:
        """Whether the item is hidden now."""
        return bool((self._hidden[:, 0] == row).any())

    def left_out(self, at_version: int | None = None) -> NDArray[np.int64]:
        """Distinct rows that nobody may see: hidden ones; at an earlier version, those hidden or not there by then."""
        if at_version is None or at_version >= self.version:
            return self._hidden[:, 0]
        hidden = self._hidden[self._hidden[:, 1] <= at_version, 0]
        later = np.flatnonzero(self._added_versions > at_version) + self.served.n_items
        return np.union1d(hidden, later)

    def info(self, row: int) -> ItemInfo:
        """What is known of an item beyond numbers."""
        if row >= self.served.n_items:
            return self._added_infos[row - self.served.n_items]
        return self._changed.get(row) or self.served.snapshot.item(row)

    def display(self, row: int) -> Display:
        """What answers print of an item."""
        return self._displays.get(row) or self.served.displays([row])[0]

    def inferred(self, row: int) -> list[str]:
        """The modalities whose evidence is inferred from neighbours; none for the snapshot's own items."""
        return list(self._encoded[row - self.served.n_items].inferred) if row >= self.served.n_items else []

    def shown(self, rows: list[int]) -> tuple[list[Display], list[list[str]]]:
        """Of each of these rows what answers print of the item, and what is inferred of it."""
        if not self._displays:
            return self.served.displays(rows), [[]] * len(rows)
        return list(map(self.display, rows)), list(map(self.inferred, rows))

    def live_among(self, page: Page) -> list[LiveDisplay]:
        """Of a page's items those of which the snapshot says nothing, or something else."""
        if not self._displays:
            return []
        rows = enumerate(page.rows.tolist())
        return [(at, self._displays[row], self.inferred(row)) for at, row in rows if row in self._displays]

    def near(self, row: int, modality: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Rows (n,) of items that resemble the one at `row` in a modality, and their cosines.

        The snapshot's lists, and where an added item is one of the two, its own.
        """
        if row >= self.served.n_items:
            return self._encoded[row - self.served.n_items].near.get(modality, (NO_ROWS, np.zeros(0)))
        rows, cosines = self.served.near(row, modality)
        added = [
            (self.served.n_items + place, float(theirs[1][theirs[0] == row][0]))
            for place, item in enumerate(self._encoded)
            if (theirs := item.near.get(modality)) is not None and (theirs[0] == row).any()
        ]
        more = np.array(added).reshape(-1, 2)
        return np.concatenate([rows, more[:, 0].astype(np.int64)]), np.concatenate([cosines, more[:, 1]])

    def present(self, row: int) -> list[bool]:
        """(M,) which modalities an item has."""
        if self._added is not None and row >= self.served.n_items:
            return list(map(bool, self._added.present[row - self.served.n_items]))
        return list(map(bool, self.served.snapshot.array("item_present")[row]))

    def added_texts(self) -> Sequence[tuple[int, ItemInfo]]:
        """Rows and contents of what was added or changed, for searches."""
        return [*self._changed.items(), *enumerate(self._added_infos, start=self.served.n_items)]

    def candidates(self, state: UserState, depth: int) -> NDArray[np.int64]:
        """Rows of added items worth scoring."""
        if self._added is None:
            return NO_ROWS
        return self._added.candidates(state, depth) + self.served.n_items

    def score(self, state: UserState, rows: NDArray[np.int64]) -> PairScores:
        """Every term of every item at `rows`, the snapshot's first; `item_rows` of the result says the order."""
        scorer = self.served.scorer
        if self._added is None:
            return scorer.score(state, rows)
        own, places = rows[rows < self.served.n_items], rows[rows >= self.served.n_items] - self.served.n_items
        if len(places) == 0:
            return scorer.score(state, own)
        first, second = scorer.score(state, own), self._added.score(state, places)
        return PairScores(
            np.concatenate([own, places + self.served.n_items]),
            np.concatenate([first.contributions, second.contributions]),
            np.concatenate([first.weights, second.weights]),
            np.concatenate([first.amounts, second.amounts]),
        )

    def because(self, state: UserState, row: int) -> Because:
        """The history's shares in the score of one item."""
        if self._added is not None and row >= self.served.n_items:
            return self._added.because(state, row - self.served.n_items)
        return self.served.scorer.because(state, row)

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """(len(rows), D): the items' vectors. Only for snapshots with an index."""
        index = self.served.index
        assert index is not None
        if self._added is None:
            return index.vectors(rows)
        found = np.empty((len(rows), index.width), np.float32)
        own = rows < self.served.n_items
        found[own] = index.vectors(rows[own])
        found[~own] = self._added.vectors[rows[~own] - self.served.n_items]
        return found

    def expert_vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """(len(rows), F): as `Scorer.expert_vectors`."""
        own, places = rows[rows < self.served.n_items], rows[rows >= self.served.n_items] - self.served.n_items
        vectors = self.served.scorer.expert_vectors(own)
        if self._added is None or len(places) == 0:
            return vectors
        own_places = rows < self.served.n_items
        found = np.empty((len(rows), vectors.shape[1]), np.float32)
        found[own_places], found[~own_places] = vectors, self._added.expert_vectors(places)
        return found

    def _in_categories(self, categories: tuple[str, ...]) -> NDArray[np.bool_]:
        """(I+A,): items of at least one of `categories`; shared, never to be written to."""
        mask = np.zeros(self.n_items, np.bool_)
        mask[: self.served.n_items] = self.served.in_categories(categories)
        wanted = set(categories)
        for row, info in self.added_texts():
            mask[row] = not wanted.isdisjoint(info.categories)
        mask.setflags(write=False)
        return mask
