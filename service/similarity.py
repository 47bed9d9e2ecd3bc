"""Which items are alike, overall or by one modality."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidRequest
from service.served import ServedSnapshot

OVERALL = "overall"
OVERALL_DEPTH = 1000
"""Neighbours by inner product among which the cosine decides."""


def neighbours(
    served: ServedSnapshot, row: int, by: str, k: int, hidden: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows (n,) of up to `k` items most like `row`, and how alike they are (cosine), most alike first.

    Never the item itself, nor a hidden one. Raises `InvalidRequest` where the snapshot has no neighbours of that kind.
    """
    rows, likeness = _overall(served, row) if by == OVERALL else _by_modality(served, row, by)
    kept = (rows >= 0) & (rows != row) & ~np.isin(rows, hidden)
    rows, likeness = rows[kept], likeness[kept]
    order = np.lexsort((rows, -likeness))[:k]
    return rows[order], likeness[order]


def _overall(served: ServedSnapshot, row: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    if served.index is None:
        raise InvalidRequest(
            f"by: the model {served.manifest.model} has no item vectors, so nothing is similar overall"
        )
    own = served.index.vectors(np.array([row]))
    rows = served.index.search(own, OVERALL_DEPTH)[0]
    rows = rows[rows >= 0]
    vectors = served.index.vectors(rows)
    norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(own)
    return rows, (vectors @ own[0] / np.maximum(norms, 1e-12)).astype(np.float64)


def _by_modality(served: ServedSnapshot, row: int, by: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    name = f"neighbours_{by}_items"
    if not served.snapshot.has(name):
        known = [OVERALL, *(m for m in served.modalities if served.snapshot.has(f"neighbours_{m}_items"))]
        raise InvalidRequest(f"by: expected one of {known}, found {by!r}")
    rows = served.snapshot.array(name)[row].astype(np.int64)
    return rows, served.snapshot.array(f"neighbours_{by}_values")[row].astype(np.float64)
