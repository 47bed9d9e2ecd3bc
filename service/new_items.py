"""Items that the model never saw: their rows of the snapshot's item arrays, from content and from warm neighbours.

Axes: `M` modalities, `n` neighbours, `s` items that speak for it, `d` width of a modality's features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_store.encoders.session import Session, fastest_providers, open_session
from model_store.scoring import scorer_for
from model_store.snapshot import Snapshot
from service.evidence import Evidence, of_columns, of_content

ENCODER = "item_encoder.onnx"
OUTPUTS = ("parts", "history", "experts", "logits")
"""What the graph makes; each is a row of the array `item_<name>`."""
NEIGHBOURS = 10
NO_DIRECTION = 1e-5
"""Centred features shorter than this, against the largest raw number, say nothing: the modality counts as missing."""
BLOCK_ROWS = 65536

F32 = NDArray[np.float32]
Near = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Rows of items (n,), nearest first, and their cosines."""


@dataclass(frozen=True)
class EncodedItem:
    """What scoring needs of a new item."""

    arrays: dict[str, NDArray[Any]]
    """One row for each of the arrays that candidates are scored by, and for each of the features."""
    present: NDArray[np.bool_]  # (M,)
    inferred: tuple[str, ...]
    """The modalities whose evidence comes from its neighbours."""
    evidence: Evidence | None
    """What a history says about it, where the model asks the item-item matrix."""
    near: Mapping[str, Near]
    """By content modality, the snapshot's items that it resembles."""


class ItemEncoder:
    """Makes new items out of features: by the snapshot's `item_encoder.onnx`, where its model has one.

    A model without a graph knows an item as the mean of the warm items that it resembles, by how close they are. Then
    all of its evidence is inferred; through the graph, behaviour alone.
    """

    def __init__(self, snapshot: Snapshot, session: Session | None) -> None:
        self._snapshot = snapshot
        self._session = session
        self.provider = None if session is None else session.get_providers()[0]
        """What runs the graph, in ONNX Runtime's words; None without one."""
        self._modalities = [modality.name for modality in snapshot.manifest.modalities]
        self._arrays = [name for name in type(scorer_for(snapshot)).candidate_arrays if snapshot.has(name)]
        self.widths = {
            modality.name: modality.feature_width
            for modality in snapshot.manifest.modalities
            if modality.kind == "content" and modality.feature_width and snapshot.has(f"features_{modality.name}")
        }
        """Content modalities and how wide their features are."""

    @classmethod
    def of(cls, snapshot: Snapshot) -> ItemEncoder:
        """The snapshot's encoder."""
        path = snapshot.file(ENCODER)
        return cls(snapshot, None if path is None else open_session(path, fastest_providers()))

    def encode(self, features: Mapping[str, F32]) -> EncodedItem | None:
        """An item from raw features (d,) of the modalities it has; others are missing.

        None where nothing can be known of it: there is no graph, and it resembles nothing that anybody has taken.
        """
        units = {name: self._unit(name, features.get(name)) for name in self.widths}
        present = np.array([name not in units or bool(units[name].any()) for name in self._modalities])
        near = {
            name: nearest(self._snapshot.array(f"features_{name}"), unit, NEIGHBOURS)
            for name, unit in units.items()
            if unit.any()
        }
        neighbours, closeness = self._neighbours(near)
        weights = np.where(self._snapshot.array("item_degree")[neighbours] > 0, closeness.sum(axis=1), 0.0)
        weights /= max(float(weights.sum()), 1e-12)
        if self._session is None and not weights.any():
            return None
        if self._session is None:
            arrays = {name: weights @ self._rows(name, neighbours) for name in self._arrays}
            inferred = tuple(name for name, has in zip(self._modalities, present.tolist(), strict=True) if has)
        else:
            outputs = self._session.run(list(OUTPUTS), self._inputs(units, present, neighbours, weights))
            arrays = {f"item_{name}": np.asarray(output)[0] for name, output in zip(OUTPUTS, outputs, strict=True)}
            inferred = (self._modalities[0],)
        shaped = {
            name: np.reshape(array, self._snapshot.array(name).shape[1:]).astype(np.float32)
            for name, array in arrays.items()
            if name in self._arrays
        }
        shaped |= {f"features_{name}": unit for name, unit in units.items()}
        return EncodedItem(shaped, present, inferred, self._evidence(neighbours, closeness, weights), near)

    def _rows(self, name: str, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """(n, everything else): rows of an array, flat."""
        return self._snapshot.array(name)[rows].astype(np.float64).reshape(len(rows), -1)

    def _evidence(
        self, neighbours: NDArray[np.int64], closeness: NDArray[np.float64], weights: NDArray[np.float64]
    ) -> Evidence | None:
        if not self._snapshot.has("item_item_indptr"):
            return None
        if "cold_scale" in self._snapshot.manifest.item_item:
            return of_content(self._snapshot.manifest, neighbours, closeness)
        return of_columns(self._snapshot, neighbours, weights)

    def _unit(self, name: str, raw: F32 | None) -> F32:
        """The features centred as in training and of unit length; zero where there is nothing to know."""
        if raw is None:
            return np.zeros(self.widths[name] or 0, np.float32)
        centred = raw - np.asarray(self._snapshot.parameter(f"feature_mean_{name}"), np.float32)
        norm = float(np.linalg.norm(centred))
        unit: F32 = centred / norm if norm > NO_DIRECTION * float(np.abs(raw).max()) else np.zeros_like(centred)
        return unit.astype(np.float32)

    def _neighbours(self, near: Mapping[str, Near]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The item's row of the content graph: the rows (n,) of all it resembles, and how closely (n, M), symmetrically
        normalised.

        The degrees of the others are those of their own lists in the snapshot; the trainer's graph knows their incoming
        edges too, so this is near to what training would have given, not equal.
        """
        edges: dict[int, NDArray[np.float64]] = {}
        for name, (rows, cosines) in near.items():
            own = max(float(cosines.sum()), 1e-12)
            column = self._modalities.index(name)
            for row, cosine in zip(rows.tolist(), cosines.tolist(), strict=True):
                degree = max(self._degree(name, row), cosine)
                amounts = edges.setdefault(row, np.zeros(len(self._modalities)))
                amounts[column] = cosine / np.sqrt(own * degree)
        ordered = sorted(edges)
        closeness = np.array([edges[row] for row in ordered]).reshape(-1, len(self._modalities))
        return np.array(ordered, np.int64), closeness

    def _degree(self, name: str, row: int) -> float:
        listed = f"neighbours_{name}_values"
        return float(self._snapshot.array(listed)[row].astype(np.float64).sum()) if self._snapshot.has(listed) else 1.0

    def _inputs(
        self,
        units: Mapping[str, F32],
        present: NDArray[np.bool_],
        neighbours: NDArray[np.int64],
        weights: NDArray[np.float64],
    ) -> dict[str, NDArray[Any]]:
        """A batch of one; without neighbours, one row of weight zero stands in, for the axis must not be empty."""
        rows = neighbours if len(neighbours) else np.zeros(1, np.int64)
        shares = weights if len(neighbours) else np.zeros(1)
        return {f"features_{name}": unit[None] for name, unit in units.items()} | {
            "present": present[None],
            "neighbour_parts": self._snapshot.array("item_parts")[rows].astype(np.float32)[None],
            "neighbour_history": self._snapshot.array("item_history")[rows].astype(np.float32)[None],
            "neighbour_weights": shares.astype(np.float32)[None],
        }


def nearest(rows: NDArray[np.floating], query: F32, k: int) -> Near:
    """The `k` rows of `rows` (I, d) with the greatest positive inner product with `query` (d,), and those products."""
    products = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), BLOCK_ROWS):
        products[start : start + BLOCK_ROWS] = rows[start : start + BLOCK_ROWS].astype(np.float32) @ query
    best = np.argpartition(-products, min(k, len(products)) - 1)[:k]
    best = best[products[best] > 0]
    best = best[np.lexsort((best, -products[best]))]
    return best.astype(np.int64), products[best].astype(np.float64)
