"""Which items are alike, overall or by one modality."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidRequest
from service.view import View

OVERALL = "overall"
OVERALL_DEPTH = 1000
"""Neighbours by inner product among which the cosine decides."""


def neighbours(view: View, row: int, by: str, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows (n,) of up to `k` items most like `row`, and how alike they are (cosine), most alike first.

    Never the item itself, nor a hidden one. Raises `InvalidRequest` where the snapshot has no neighbours of that kind.
    """
    served = view.served
    if by != OVERALL and (by not in served.modalities or not served.snapshot.has(f"neighbours_{by}_items")):
        known = [OVERALL, *(m for m in served.modalities if served.snapshot.has(f"neighbours_{m}_items"))]
        raise InvalidRequest(f"by: expected one of {known}, found {by!r}")
    if by != OVERALL:
        rows, likeness = view.near(row, by)
    else:
        # A single number per item, as popularity is, puts items into an order and compares none.
        alike = _by_modalities if served.index is None or served.index.width == 1 else _by_vectors
        rows, likeness = alike(view, row)
    kept = (rows != row) & ~np.isin(rows, view.left_out())
    rows, likeness = rows[kept], likeness[kept]
    order = np.lexsort((rows, -likeness))[:k]
    return rows[order], likeness[order]


def _by_vectors(view: View, row: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    index = view.served.index
    assert index is not None
    own = view.vectors(np.array([row]))
    rows = index.search(own, OVERALL_DEPTH)[0]
    rows = np.concatenate([rows[rows >= 0], np.arange(view.served.n_items, view.n_items)])
    vectors = view.vectors(rows)
    norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(own)
    return rows, (vectors @ own[0] / np.maximum(norms, 1e-12)).astype(np.float64)


def _by_modalities(view: View, row: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """For a model without item vectors: the mean of the modalities' cosines, 0 where one lists no such neighbour."""
    found = [view.near(row, modality) for modality in view.served.modalities]
    rows, place = np.unique(np.concatenate([rows for rows, _ in found]), return_inverse=True)
    summed = np.bincount(place, np.concatenate([cosines for _, cosines in found]), minlength=len(rows))
    return rows, summed / len(found)
