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
from service.new_items import EncodedItem

OF_HISTORY = "item_history"
"""The one item array that is read by the rows of histories, which are the snapshot's."""


class AddedArrays:
    """What a scorer reads (`model_store.scoring.base.Readable`): the added items' rows, all else is the snapshot's."""

    def __init__(self, snapshot: Snapshot, items: Sequence[EncodedItem]) -> None:
        self._snapshot = snapshot
        self.manifest: Manifest = snapshot.manifest
        self.n_items = len(items)
        names = [name for name in items[0].arrays if name != OF_HISTORY]
        self._arrays: dict[str, NDArray[Any]] = {
            name: np.stack([item.arrays[name] for item in items]).astype(np.float32) for name in names
        }
        self._arrays["item_present"] = np.stack([item.present for item in items])
        if snapshot.has("item_item_indptr"):
            self._arrays |= _item_item(snapshot, items)

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

    def because(self, state: UserState, place: int) -> Because:
        """The history's shares in the score of one added item."""
        return self._scorer.because(self._state(state), place)

    def _state(self, state: UserState) -> UserState:
        """The same user, with what the history says about the added items."""
        if self._item_item is None:
            return replace(state, item_item=no_item_item(self.present.shape[1]))
        about_added = self._item_item.gather(state.history_rows)
        return replace(state, item_item=replace(about_added, typical=state.item_item.typical))


def _item_item(snapshot: Snapshot, items: Sequence[EncodedItem]) -> dict[str, NDArray[Any]]:
    """The item-item matrix from the snapshot's items to the added ones, as for its own items without interactions.

    That is the content graph's row, by the weights that the manifest states.
    """
    facts = snapshot.manifest.item_item
    scale = _number(facts.get("weight")) * _number(facts.get("cold_scale"))
    alphas = np.array([_number(facts.get(f"alpha_{modality.name}")) for modality in snapshot.manifest.modalities])
    sources = np.concatenate([item.neighbours for item in items])
    places = np.repeat(np.arange(len(items)), [len(item.neighbours) for item in items])
    values = np.concatenate([item.closeness for item in items]) * alphas * scale
    order = np.lexsort((places, sources))
    counts = np.bincount(sources, minlength=snapshot.n_items)
    return {
        "item_item_indptr": np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
        "item_item_items": places[order].astype(np.int32),
        "item_item_values": values[order].astype(np.float32),
    }


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
