"""Items that the model never saw: their rows of the snapshot's item arrays, from content and from warm neighbours.

Axes: `M` modalities, `n` neighbours, `d` width of a modality's features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_store.encoders.session import Session, fastest_providers, open_session
from model_store.snapshot import Snapshot

ENCODER = "item_encoder.onnx"
OUTPUTS = ("parts", "history", "experts", "logits")
"""What the graph makes; each is a row of the array `item_<name>`."""
NEIGHBOURS = 10
NO_DIRECTION = 1e-5
"""Centred features shorter than this, against the largest raw number, say nothing: the modality counts as missing."""
BLOCK_ROWS = 65536

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class EncodedItem:
    """What scoring needs of a new item. Its behaviour is inferred from its neighbours."""

    arrays: dict[str, NDArray[Any]]
    """One row for each of the snapshot's arrays `item_<output>`."""
    present: NDArray[np.bool_]  # (M,)
    neighbours: NDArray[np.int64]  # (n,) rows of items whose closeness speaks for it, ascending
    closeness: NDArray[np.float64]  # (n, M) how much, by modality: its row of the content graph


class ItemEncoder:
    """The snapshot's `item_encoder.onnx` with what its inputs are made of."""

    def __init__(self, snapshot: Snapshot, session: Session) -> None:
        self._snapshot = snapshot
        self._session = session
        self.provider = session.get_providers()[0]
        """What runs the graph, in ONNX Runtime's words."""
        self._modalities = [modality.name for modality in snapshot.manifest.modalities]
        self.widths = {
            modality.name: modality.feature_width
            for modality in snapshot.manifest.modalities
            if modality.kind == "content" and modality.feature_width and snapshot.has(f"features_{modality.name}")
        }
        """Content modalities and how wide their features are."""

    @classmethod
    def of(cls, snapshot: Snapshot) -> ItemEncoder | None:
        """The encoder, None where the snapshot has none: then its model cannot score an item it never saw."""
        path = snapshot.file(ENCODER)
        return None if path is None else cls(snapshot, open_session(path, fastest_providers()))

    def encode(self, features: Mapping[str, F32]) -> EncodedItem:
        """An item from raw features (d,) of the modalities it has; others are missing."""
        units = {name: self._unit(name, features.get(name)) for name in self.widths}
        present = np.array([name not in units or bool(units[name].any()) for name in self._modalities])
        neighbours, closeness = self._neighbours(units)
        warm = self._snapshot.array("item_degree")[neighbours] > 0
        weights = np.where(warm, closeness.sum(axis=1), 0.0)
        weights /= max(float(weights.sum()), 1e-12)
        outputs = self._session.run(list(OUTPUTS), self._inputs(units, present, neighbours, weights))
        arrays = {f"item_{name}": np.asarray(output)[0] for name, output in zip(OUTPUTS, outputs, strict=True)}
        return EncodedItem(arrays, present, neighbours, closeness)

    def _unit(self, name: str, raw: F32 | None) -> F32:
        """The features centred as in training and of unit length; zero where there is nothing to know."""
        if raw is None:
            return np.zeros(self.widths[name] or 0, np.float32)
        centred = raw - np.asarray(self._snapshot.parameter(f"feature_mean_{name}"), np.float32)
        norm = float(np.linalg.norm(centred))
        unit: F32 = centred / norm if norm > NO_DIRECTION * float(np.abs(raw).max()) else np.zeros_like(centred)
        return unit.astype(np.float32)

    def _neighbours(self, units: Mapping[str, F32]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The item's row of the content graph: per modality the nearest items, symmetrically normalised.

        The degrees of the others are those of their own lists in the snapshot; the trainer's graph knows their incoming
        edges too, so this is near to what training would have given, not equal.
        """
        edges: dict[int, NDArray[np.float64]] = {}
        for name, unit in units.items():
            if not unit.any():
                continue
            rows, cosines = nearest(self._snapshot.array(f"features_{name}"), unit, NEIGHBOURS)
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


def nearest(rows: NDArray[np.floating], query: F32, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The `k` rows of `rows` (I, d) with the greatest positive inner product with `query` (d,), and those products."""
    products = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), BLOCK_ROWS):
        products[start : start + BLOCK_ROWS] = rows[start : start + BLOCK_ROWS].astype(np.float32) @ query
    best = np.argpartition(-products, min(k, len(products)) - 1)[:k]
    best = best[products[best] > 0]
    best = best[np.lexsort((best, -products[best]))]
    return best.astype(np.int64), products[best].astype(np.float64)
