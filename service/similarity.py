"""Which items are alike, overall or by one modality."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidRequest
from service.served import ServedSnapshot
from service.view import View

OVERALL = "overall"
OVERALL_DEPTH = 1000
"""Neighbours by inner product among which the cosine decides."""


def neighbours(view: View, row: int, by: str, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows (n,) of up to `k` items most like `row`, and how alike they are (cosine), most alike first.

    Never the item itself, nor a hidden one. Raises `InvalidRequest` where the snapshot has no neighbours of that kind.
    """
    rows, likeness = _overall(view, row) if by == OVERALL else _by_modality(view.served, row, by)
    kept = (rows >= 0) & (rows != row) & ~np.isin(rows, view.left_out())
    rows, likeness = rows[kept], likeness[kept]
    order = np.lexsort((rows, -likeness))[:k]
    return rows[order], likeness[order]


def _overall(view: View, row: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    served = view.served
    if served.index is None:
        raise InvalidRequest(
            f"by: the model {served.manifest.model} has no item vectors, so nothing is similar overall"
        )
    own = view.vectors(np.array([row]))
    rows = served.index.search(own, OVERALL_DEPTH)[0]
    rows = np.concatenate([rows[rows >= 0], np.arange(served.n_items, view.n_items)])
    vectors = view.vectors(rows)
    norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(own)
    return rows, (vectors @ own[0] / np.maximum(norms, 1e-12)).astype(np.float64)


def _by_modality(served: ServedSnapshot, row: int, by: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    name = f"neighbours_{by}_items"
    if not served.snapshot.has(name):
        known = [OVERALL, *(m for m in served.modalities if served.snapshot.has(f"neighbours_{m}_items"))]
        raise InvalidRequest(f"by: expected one of {known}, found {by!r}")
    if row >= served.n_items:
        return np.zeros(0, np.int64), np.zeros(0)
    rows = served.snapshot.array(name)[row].astype(np.int64)
    return rows, served.snapshot.array(f"neighbours_{by}_values")[row].astype(np.float64)
