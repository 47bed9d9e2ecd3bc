"""What histories say about items that the item-item matrix has no column for.

Axes: `I` items of the snapshot, `A` added items, `n` neighbours, `s` items that speak for one, `M` modalities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_store.manifest import Manifest
from model_store.snapshot import Snapshot

BLOCK_ENTRIES = 2**22


@dataclass(frozen=True)
class Evidence:
    """One item's column of the matrix: `amounts` (s, M) that each item at `rows` (s,), once in a history, adds."""

    rows: NDArray[np.int64]
    amounts: NDArray[np.float64]


def of_content(manifest: Manifest, neighbours: NDArray[np.int64], closeness: NDArray[np.float64]) -> Evidence:
    """As for the snapshot's own items without interactions: the row of the content graph, by the stated weights."""
    facts = manifest.item_item
    scale = _number(facts.get("weight", 1.0)) * _number(facts["cold_scale"])
    alphas = np.array([_number(facts.get(f"alpha_{modality.name}")) for modality in manifest.modalities])
    return Evidence(neighbours, closeness * alphas * scale)


def of_columns(snapshot: Snapshot, neighbours: NDArray[np.int64], weights: NDArray[np.float64]) -> Evidence:
    """The weighted mean of the neighbours' columns: whoever speaks for them speaks for it."""
    indptr, items = snapshot.array("item_item_indptr"), snapshot.array("item_item_items")
    found = [
        start + np.flatnonzero(np.isin(items[start : start + BLOCK_ENTRIES], neighbours))
        for start in range(0, len(items), BLOCK_ENTRIES)
    ]
    entries = np.concatenate(found) if found else np.zeros(0, np.int64)
    share = weights[np.searchsorted(neighbours, items[entries])]
    amounts = snapshot.array("item_item_values")[entries].astype(np.float64) * share[:, None]
    rows, place = np.unique(np.searchsorted(indptr, entries, side="right") - 1, return_inverse=True)
    summed = np.zeros((len(rows), amounts.shape[1]))
    np.add.at(summed, place, amounts)
    return Evidence(rows, summed)


def as_matrix(evidence: Sequence[Evidence], n_items: int) -> dict[str, NDArray[np.generic]]:
    """The item-item matrix from the snapshot's items to the added ones, as the arrays that scoring reads."""
    sources = np.concatenate([column.rows for column in evidence])
    places = np.repeat(np.arange(len(evidence)), [len(column.rows) for column in evidence])
    order = np.lexsort((places, sources))
    counts = np.bincount(sources, minlength=n_items)
    return {
        "item_item_indptr": np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
        "item_item_items": places[order].astype(np.int32),
        "item_item_values": np.concatenate([column.amounts for column in evidence])[order].astype(np.float32),
    }


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
