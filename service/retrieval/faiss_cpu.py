"""FAISS on the CPU. One query runs on one thread: OpenMP's threads slow a single query down."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from service.retrieval.protocol import CandidateIndex

BLOCK_ROWS = 65536
_LIBRARY: Any = faiss  # its type stubs show the C++ signatures, not the Python ones


def use_one_thread() -> None:
    """Keep FAISS to the calling thread. OpenMP keeps this setting per thread: every thread that searches calls it."""
    faiss.omp_set_num_threads(1)


class FaissCpuIndex(CandidateIndex):
    """An exact (Flat) inner-product index over float32 vectors."""

    name = "faiss-cpu flat"

    def __init__(self, vectors: NDArray[np.floating]) -> None:
        """Copies `vectors` (I, D) block by block, so that a mapped half-precision array is never widened whole."""
        self.n_items, self.width = vectors.shape
        self._index: Any = faiss.IndexFlatIP(self.width)
        for block in _blocks(vectors):
            self._index.add(block)

    def search(
        self, queries: NDArray[np.float32], depth: int, allowed: NDArray[np.bool_] | None = None
    ) -> NDArray[np.int64]:
        """See `CandidateIndex.search`; the restriction is a bitmap selector inside FAISS."""
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        depth = min(depth, self.n_items)
        if allowed is None:
            _, rows = self._index.search(queries, depth)
        else:
            bitmap = np.packbits(allowed, bitorder="little")
            selector = _LIBRARY.IDSelectorBitmap(bitmap)
            _, rows = self._index.search(queries, depth, params=_LIBRARY.SearchParameters(sel=selector))
        found: NDArray[np.int64] = rows
        return found

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """See `CandidateIndex.vectors`."""
        stored: NDArray[np.float32] = self._index.reconstruct_batch(np.ascontiguousarray(rows, dtype=np.int64))
        return stored


def _blocks(vectors: NDArray[np.floating]) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(vectors), BLOCK_ROWS):
        yield np.ascontiguousarray(vectors[start : start + BLOCK_ROWS], dtype=np.float32)
