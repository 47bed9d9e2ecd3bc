"""FAISS on the CPU over vectors grouped into cells: the index of a large catalogue, built at export and mapped here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from model_store.errors import SnapshotCorrupt
from service.resident import held
from service.retrieval.protocol import CandidateIndex

_LIBRARY: Any = faiss  # its type stubs show the C++ signatures, not the Python ones
BLOCK_BYTES = 2**24


class FaissIvfIndex(CandidateIndex):
    """Reads as many cells as the export found to be enough; workers share the file's pages.

    Where a restriction leaves too few items in those cells, all cells are read.
    """

    def __init__(self, path: Path, vectors: Callable[[NDArray[np.int64]], NDArray[np.float32]], n_items: int) -> None:
        """`vectors(rows)` are the items' vectors (n, D). Raises `SnapshotCorrupt` for what is not their index."""
        _read_through(path)
        self._held = held(path)
        try:
            index: Any = _LIBRARY.read_index(str(path), _LIBRARY.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise SnapshotCorrupt(path.name, "an index that FAISS reads", str(error).splitlines()[-1]) from error
        self._vectors = vectors
        self.n_items, self.width = n_items, vectors(np.zeros(1, np.int64)).shape[1]
        if not isinstance(index, _LIBRARY.IndexIVF) or (index.ntotal, index.d) != (n_items, self.width):
            expected = f"cells of {n_items} vectors of width {self.width}"
            raise SnapshotCorrupt(path.name, expected, f"{index.ntotal} of width {index.d}")
        self._index = index
        self.name = f"faiss-cpu ivf, {index.nprobe} of {index.nlist} cells"

    def search(
        self, queries: NDArray[np.float32], depth: int, allowed: NDArray[np.bool_] | None = None
    ) -> NDArray[np.int64]:
        """See `CandidateIndex.search`."""
        queries, depth = np.ascontiguousarray(queries, np.float32), min(depth, self.n_items)
        selector = None if allowed is None else _LIBRARY.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
        found = self._search(queries, depth, self._index.nprobe, selector)
        if len(short := np.flatnonzero(found[:, -1] < 0)):
            found[short] = self._search(queries[short], depth, self._index.nlist, selector)
        return found

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """See `CandidateIndex.vectors`; from the snapshot's arrays, for the index holds them rounded."""
        return self._vectors(rows)

    def _search(self, queries: NDArray[np.float32], depth: int, cells: int, selector: Any) -> NDArray[np.int64]:
        parameters = _LIBRARY.SearchParametersIVF(nprobe=cells, sel=selector)
        _, rows = self._index.search(queries, depth, params=parameters)
        found: NDArray[np.int64] = rows
        return found


def _read_through(path: Path) -> None:
    """Bring a mapped file into memory in one go: searches jump about in it."""
    with path.open("rb") as file:
        while file.read(BLOCK_BYTES):
            pass
