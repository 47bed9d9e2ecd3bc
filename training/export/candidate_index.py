"""The candidate index of a large catalogue, built at export so that no worker has to (FORMAT.md, "Candidate index").

Axes: `I` items, `Q` sampled users, `D` width. Up to `FLAT_UP_TO` items the service scans all vectors, which is exact
and takes at most a millisecond. Beyond, the vectors are stored in half precision by the cell they lie in (FAISS's IVF),
and as many cells are read as the sampled users need.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from model_store.draft import SnapshotDraft
from model_store.scoring import scorer_for
from model_store.snapshot import CANDIDATE_INDEX_FILE

F32 = NDArray[np.float32]
FLAT_UP_TO = 50_000
WANTED_RECALL = 0.99
CELLS_READ = (4, 8, 16, 32, 64, 128, 256, 512)
INDEX_RECALL = "index"
"""Under this name the manifest says which share of the exact nearest items the index finds."""
LEAST_DEPTH = 100
QUERIES = 200
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
    vectors: Callable[[slice], F32], n_items: int, queries: F32, depth: int, *, wanted: float = WANTED_RECALL
) -> BuiltIndex:
    """The index that reads the fewest cells which hold at least the share `wanted` of the `depth` nearest items.

    Args:
        vectors: rows (a slice of 0..I-1) to their vectors (n, D); asked for in blocks, so nothing is widened whole.
        n_items: I.
        queries: (Q, D) vectors of users to measure with.
        depth: how many items the service asks for.
        wanted: share of the exact nearest items; all cells are read where no fewer hold it.

    """
    blocks = [slice(start, min(start + BLOCK, n_items)) for start in range(0, n_items, BLOCK)]
    cells = 2 ** round(np.log2(max(2 * n_items**0.5, 2)))
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
        if recall >= wanted or index.nprobe == cells:
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


def with_candidate_index(
    draft: SnapshotDraft, files: Mapping[str, bytes], *, seed: int
) -> tuple[SnapshotDraft, dict[str, bytes]]:
    """The draft and its files with the index of a large catalogue; what it finds is among the draft's recalls."""
    scorer, known = scorer_for(draft), np.flatnonzero(np.diff(draft.array("history_indptr")))
    if draft.n_items <= FLAT_UP_TO or not len(known) or not scorer.retrieval_vectors(slice(1)).shape[1]:
        return draft, dict(files)
    chosen = np.random.default_rng([seed, 23]).choice(known, min(QUERIES, len(known)), replace=False)
    queries = np.stack([scorer.known_user(int(row)).vector for row in np.sort(chosen)])
    candidates = draft.manifest.candidates
    built = build_candidate_index(scorer.retrieval_vectors, draft.n_items, queries, max(candidates.depth, LEAST_DEPTH))
    recall = candidates.recall | {INDEX_RECALL: built.recall}
    manifest = draft.manifest.model_copy(update={"candidates": candidates.model_copy(update={"recall": recall})})
    return replace(draft, manifest=manifest), {**files, CANDIDATE_INDEX_FILE: built.content}
