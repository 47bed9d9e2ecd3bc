"""FAISS on one GPU: a thread of its own per index, which takes every waiting query into one search.

Not measured on a device yet: what is tested is everything but the device, with a FAISS index on the CPU in its place.

A GPU index is neither safe for concurrent callers nor shareable between processes, so each worker has its own copy, and
only the index's owner touches it. It ignores `IDSelector`: a restricted search fetches more and drops. What fetching
more cannot fill, at most `MAX_DEPTH` rows, is found by an exact scan of the host's vectors; so is every answer after
the device has failed.

Axes: `I` items, `B` queries, `D` width.
"""

from __future__ import annotations

import logging
import queue
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from service.retrieval.protocol import CandidateIndex

log = logging.getLogger("magnet.retrieval")
MAX_DEPTH = 2048
"""FAISS's limit for k on a GPU."""
MAX_BATCH = 256
"""Queries in one search, beyond which a caller waits for the next one."""
SCRATCH_BYTES = 256 * 2**20
"""FAISS would otherwise take 1.5 GB of the device for intermediate results, per worker."""
BLOCK_ROWS = 65536
_LIBRARY: Any = faiss  # the GPU classes are only in builds for it

Rows = NDArray[np.int64]


def no_device() -> str | None:
    """Why there can be no index on a GPU here; None where there can."""
    if not hasattr(_LIBRARY, "GpuIndexFlatIP"):
        return "the installed FAISS is built without GPU support (expected magnet-rec[serve-gpu])"
    return None if _LIBRARY.get_num_gpus() > 0 else "FAISS finds no CUDA device"


def flat_on_gpu(width: int) -> Any:
    """An empty exact inner-product index of float16 vectors on the first device."""
    resources = _LIBRARY.StandardGpuResources()
    resources.setTempMemory(SCRATCH_BYTES)
    config = _LIBRARY.GpuIndexFlatConfig()
    config.device = 0
    config.useFloat16 = True
    index = _LIBRARY.GpuIndexFlatIP(resources, width, config)
    index.referenced_objects = [resources]  # they must live as long as the index
    return index


@dataclass(frozen=True)
class _Asked:
    """One caller's queries (B, D), to be answered with (B, depth) rows."""

    queries: NDArray[np.float32]
    depth: int
    found: Future[Rows] = field(default_factory=Future)


class FaissGpuIndex(CandidateIndex):
    """An exact (Flat) inner-product index; float16 on the device."""

    name = "faiss-gpu flat float16"
    waits = True

    def __init__(self, vectors: NDArray[np.floating], make: Callable[[int], Any] = flat_on_gpu) -> None:
        """`vectors` (I, D) are copied to the device block by block, and stay mapped here for exact scans."""
        self.n_items, self.width = vectors.shape
        self._host = vectors
        index = make(self.width)
        for start in range(0, self.n_items, BLOCK_ROWS):
            index.add(np.ascontiguousarray(vectors[start : start + BLOCK_ROWS], dtype=np.float32))
        self._waiting: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        # The thread knows nothing of `self`, so that an index nobody serves from any more is freed, device included.
        threading.Thread(target=_serve, args=(index, self._waiting), name="faiss-gpu", daemon=True).start()
        weakref.finalize(self, self._waiting.put, None)

    def search(self, queries: NDArray[np.float32], depth: int, allowed: NDArray[np.bool_] | None = None) -> Rows:
        """See `CandidateIndex.search`."""
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        depth = min(depth, self.n_items)
        n_allowed = self.n_items if allowed is None else int(np.count_nonzero(allowed))
        wanted = min(depth, n_allowed)
        fetched = self._fetch(queries, min(depth + self.n_items - n_allowed, MAX_DEPTH, self.n_items), wanted)
        answer = np.full((len(queries), depth), -1, np.int64)
        for place, query in enumerate(queries):
            rows = None if fetched is None else fetched[place]
            if rows is not None and allowed is not None:
                rows = rows[allowed[rows]]
            if rows is None or len(rows) < wanted:
                rows = self._scan(query, wanted, allowed)
            answer[place, :wanted] = rows[:wanted]
        return answer

    def vectors(self, rows: Rows) -> NDArray[np.float32]:
        """See `CandidateIndex.vectors`; as they were before they became float16 on the device."""
        return np.asarray(self._host[rows], dtype=np.float32)

    def _fetch(self, queries: NDArray[np.float32], depth: int, wanted: int) -> Rows | None:
        """(B, depth) from the owner; None where that could not be enough, or the device failed."""
        if self.warning is not None or wanted == 0 or wanted > depth:
            return None
        asked = _Asked(queries, depth)
        self._waiting.put(asked)
        try:
            return asked.found.result()
        except RuntimeError as error:  # what FAISS makes of CUDA's errors, after which the device's state is unknown
            log.error("the GPU index failed, exact scans take its place: %s", error)
            self.warning = f"the GPU index failed, exact scans take its place: {error}"
            return None

    def _scan(self, query: NDArray[np.float32], depth: int, allowed: NDArray[np.bool_] | None) -> Rows:
        """The best `depth` rows among the allowed ones, best first, by exact products on the host."""
        if depth == 0:
            return np.zeros(0, np.int64)
        rows = np.arange(self.n_items) if allowed is None else np.flatnonzero(allowed)
        scores = np.empty(len(rows), np.float32)
        for start in range(0, len(rows), BLOCK_ROWS):
            block = rows[start : start + BLOCK_ROWS]
            scores[start : start + len(block)] = self.vectors(block) @ query
        best = np.argpartition(-scores, depth - 1)[:depth]
        found: Rows = rows[best[np.lexsort((best, -scores[best]))]]
        return found


def _serve(index: Any, waiting: queue.SimpleQueue[_Asked | None]) -> None:
    """Answer what waits, all of it in one search, until None comes."""
    while (first := waiting.get()) is not None:
        batch, ended = [first], False
        while sum(len(asked.queries) for asked in batch) < MAX_BATCH:
            try:
                following = waiting.get_nowait()
            except queue.Empty:
                break
            if following is None:
                ended = True
                break
            batch.append(following)
        _answer(index, batch)
        if ended:
            return


def _answer(index: Any, batch: Sequence[_Asked]) -> None:
    try:
        queries = np.concatenate([asked.queries for asked in batch])
        _, rows = index.search(queries, max(asked.depth for asked in batch))
    except Exception as error:  # whatever it is, those who wait must hear of it
        for asked in batch:
            asked.found.set_exception(error)
        return
    start = 0
    for asked in batch:
        asked.found.set_result(rows[start : start + len(asked.queries), : asked.depth])
        start += len(asked.queries)
