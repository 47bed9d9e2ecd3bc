"""The candidate index of a large catalogue, built once at export so that no worker has to. FORMAT.md, "Candidate index".

Axes: `I` items, `Q` sampled users, `D` width. Up to `FLAT_UP_TO` items the service scans all vectors, which is exact and
takes at most a millisecond; beyond, the vectors are stored in half precision by the cell they lie in (FAISS's IVF), and
as many cells are read as the sampled users need.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
FLAT_UP_TO = 50_000
WANTED_RECALL = 0.99
CELLS_READ = (4, 8, 16, 32, 64, 128, 256, 512)
SAMPLE_PER_CELL = 64
ROUNDS = 8
BLOCK = 65_536
SEED = 1234


@dataclass(frozen=True)
class BuiltIndex:
    """An index as FAISS writes it, and the share of the exact nearest items that it finds for the sampled users."""

    content: bytes
    recall: float
    cells: int
    cells_read: int


def build_candidate_index(
    vectors: Callable[[slice], F32], n_items: int, queries: F32, depth: int, *, flat_up_to: int = FLAT_UP_TO
) -> BuiltIndex | None:
    """The index that reads the fewest cells which hold at least `WANTED_RECALL` of the `depth` nearest items.

    Args:
        vectors: rows (a slice of 0..I-1) to their vectors (n, D); asked for in blocks, so nothing is widened whole.
        n_items: I.
        queries: (Q, D) vectors of users to measure with.
        depth: how many items the service asks for.
        flat_up_to: the size up to which there is nothing to build.

    Returns:
        None for a small catalogue.

    """
    if n_items <= flat_up_to or not len(queries):
        return None
    blocks = [slice(start, min(start + BLOCK, n_items)) for start in range(0, n_items, BLOCK)]
    cells = 2 ** round(np.log2(2 * n_items**0.5))
    width = queries.shape[1]
    index: Any = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(width),
        width,
        cells,
        faiss.ScalarQuantizer.QT_fp16,
        faiss.METRIC_INNER_PRODUCT,
        False,  # the vectors themselves, not what they differ by from their cell
    )
    index.cp.niter, index.cp.max_points_per_centroid, index.cp.seed = ROUNDS, SAMPLE_PER_CELL, SEED
    index.train(_sample(vectors, blocks, SAMPLE_PER_CELL * cells, n_items))
    exact = _Exact(queries, depth)
    for block in blocks:
        found = vectors(block)
        index.add(found)
        exact.add(found, block.start)
    recall = 0.0
    for cells_read in (*CELLS_READ, cells):
        index.nprobe = min(cells_read, cells)
        _, rows = index.search(queries, depth)
        recall = float(np.mean([np.isin(want, got).mean() for want, got in zip(exact.rows, rows, strict=True)]))
        if recall >= WANTED_RECALL or index.nprobe == cells:
            break
    return BuiltIndex(faiss.serialize_index(index).tobytes(), recall, cells, index.nprobe)


class _Exact:
    """The `depth` nearest items of every query, over blocks of vectors."""

    def __init__(self, queries: F32, depth: int) -> None:
        self._queries, self._depth = queries, depth
        self._scores = np.full((len(queries), 0), -np.inf, np.float32)
        self.rows = np.zeros((len(queries), 0), np.int64)

    def add(self, vectors: F32, start: int) -> None:
        """Take in the vectors (n, D) of the rows from `start` on."""
        scores = np.concatenate([self._scores, self._queries @ vectors.T], axis=1)
        fresh = np.broadcast_to(np.arange(start, start + len(vectors)), (len(scores), len(vectors)))
        rows = np.concatenate([self.rows, fresh], axis=1)
        best = np.argpartition(-scores, min(self._depth, scores.shape[1] - 1), axis=1)[:, : self._depth]
        self._scores = np.take_along_axis(scores, best, axis=1)
        self.rows = np.take_along_axis(rows, best, axis=1)


def _sample(vectors: Callable[[slice], F32], blocks: list[slice], wanted: int, n_items: int) -> F32:
    """About `wanted` vectors, spread evenly over the catalogue."""
    step = max(n_items // wanted, 1)
    return np.ascontiguousarray(np.concatenate([vectors(block)[::step] for block in blocks]))
