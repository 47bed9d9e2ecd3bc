"""Items added since the snapshot, scored by the snapshot's own scorer over arrays that hold their rows.

Axes: `A` added items, `I` items of the snapshot, `M` modalities, `D` width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_store.manifest import Manifest
from model_store.scoring import Because, PairScores, UserState, scorer_for
from model_store.scoring.item_item import ItemItemTerm, no_item_item
from model_store.snapshot import Snapshot
from service.evidence import as_matrix
from service.new_items import EncodedItem


class AddedArrays:
    """What a scorer reads (`model_store.scoring.base.Readable`): the added items' rows, all else is the snapshot's."""

    def __init__(self, snapshot: Snapshot, items: Sequence[EncodedItem]) -> None:
        self._snapshot = snapshot
        self.manifest: Manifest = snapshot.manifest
        self.n_items = len(items)
        self._arrays: dict[str, NDArray[Any]] = {
            name: np.stack([item.arrays[name] for item in items]) for name in items[0].arrays
        }
        self._arrays["item_degree"] = np.zeros(len(items), np.int32)
        self._arrays["item_present"] = np.stack([item.present for item in items])
        evidence = [item.evidence for item in items if item.evidence is not None]
        if evidence:
            self._arrays |= as_matrix(evidence, snapshot.n_items)

    def has(self, name: str) -> bool:
        """See `Readable`."""
        return name in self._arrays or self._snapshot.has(name)

    def array(self, name: str) -> NDArray[Any]:
        """See `Readable`."""
        return self._arrays[name] if name in self._arrays else self._snapshot.array(name)

    def parameter(self, name: str) -> NDArray[Any]:
        """See `Readable`."""
        return self._snapshot.parameter(name)

    def history(self, user_row: int) -> NDArray[np.int32]:
        """See `Readable`."""
        return self._snapshot.history(user_row)


class AddedItems:
    """Scores of added items, by their place 0..A-1."""

    def __init__(self, snapshot: Snapshot, items: Sequence[EncodedItem]) -> None:
        arrays = AddedArrays(snapshot, items)
        self._scorer = scorer_for(arrays)
        self._item_item = ItemItemTerm(arrays) if arrays.has("item_item_indptr") else None
        self.vectors: NDArray[np.float32] = self._scorer.retrieval_vectors().astype(np.float32)
        self.present = arrays.array("item_present")

    def candidates(self, state: UserState, depth: int) -> NDArray[np.int64]:
        """The places worth scoring: all of them, or the `depth` nearest to the user and what the history speaks for."""
        if len(self.vectors) <= depth:
            return np.arange(len(self.vectors))
        nearest = np.argpartition(-(self.vectors @ state.vector), depth - 1)[:depth]
        return np.union1d(nearest, self._state(state).item_item.rows)

    def score(self, state: UserState, places: NDArray[np.int64]) -> PairScores:
        """Every term of every added item at `places`."""
        return self._scorer.score(self._state(state), places)

    def expert_vectors(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """(len(places), F): as `Scorer.expert_vectors`."""
        return self._scorer.expert_vectors(places)

    def because(self, state: UserState, place: int) -> Because:
        """The history's shares in the score of one added item."""
        return self._scorer.because(self._state(state), place)

    def _state(self, state: UserState) -> UserState:
        """The same user, with what the history says about the added items."""
        if self._item_item is None:
            about_added = no_item_item(self.present.shape[1])
        else:
            about_added = self._item_item.gather(state.history_rows)
        asked = state.item_item
        return replace(state, item_item=replace(about_added, typical=asked.typical, entry=asked.entry))
