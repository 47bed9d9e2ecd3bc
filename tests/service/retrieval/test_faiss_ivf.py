"""The prebuilt index is congruent with exact NumPy where it reads all cells, and finds what it promises where not."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from model_store.errors import SnapshotCorrupt
from service.retrieval.faiss_ivf import FaissIvfIndex
from service.retrieval.protocol import CandidateIndex
from tests.contract.candidate_index import N_ITEMS, WIDTH, CandidateIndexContract, exact
from training.export.candidate_index import build_candidate_index

F32 = NDArray[np.float32]
ALL_CELLS = 1.1  # more than can be found: no fewer cells will do


def opened(folder: Path, vectors: NDArray[np.floating], queries: F32, depth: int, wanted: float) -> FaissIvfIndex:
    wide = vectors.astype(np.float32)
    built = build_candidate_index(lambda rows: wide[rows], len(wide), queries, depth, wanted=wanted)
    path = folder / f"{len(list(folder.iterdir()))}.faiss"
    path.write_bytes(built.content)
    return FaissIvfIndex(path, lambda rows: wide[rows], len(wide))


class TestFaissIvf(CandidateIndexContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    @pytest.fixture
    def vectors(self) -> F32:
        """Numbers that half precision holds."""
        rng = np.random.default_rng(0)
        return rng.normal(size=(N_ITEMS, WIDTH)).astype(np.float16).astype(np.float32)

    def build(self, vectors: NDArray[np.floating]) -> CandidateIndex:
        return opened(self.folder, vectors, np.eye(WIDTH, dtype=np.float32), 20, ALL_CELLS)


@pytest.fixture
def gathered() -> F32:
    """(2000, 16): vectors around forty directions."""
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(40, WIDTH))
    return (centres[np.arange(2000) % 40] + 0.2 * rng.normal(size=(2000, WIDTH))).astype(np.float16).astype(np.float32)


def test_few_cells_find_what_was_wanted_and_a_restriction_is_filled_up(gathered: F32, tmp_path: Path) -> None:
    queries = gathered[:60] / np.linalg.norm(gathered[:60], axis=1, keepdims=True)
    index = opened(tmp_path, gathered, queries, 30, 0.95)
    read, cells = map(int, re.findall(r"\d+", index.name))
    assert read < cells
    found = index.search(queries, 30)
    recall = [np.isin(exact(gathered, query, 30), rows).mean() for query, rows in zip(queries, found, strict=True)]
    assert np.mean(recall) >= 0.95
    rare = np.arange(2000) % 400 == 7  # all in one cell, which few queries read
    for query in queries[:8]:
        assert set(index.search(query[None], 30, rare)[0].tolist()) == {-1, *np.flatnonzero(rare).tolist()}


def test_another_catalogues_index_is_refused(gathered: F32, tmp_path: Path) -> None:
    built = build_candidate_index(lambda rows: gathered[rows], 2000, gathered[:9], 10)
    path = tmp_path / "candidates.faiss"
    path.write_bytes(built.content)
    with pytest.raises(SnapshotCorrupt, match="cells of 1999 vectors"):
        FaissIvfIndex(path, lambda rows: gathered[rows], 1999)
    path.write_bytes(built.content[:500])
    with pytest.raises(SnapshotCorrupt, match="an index that FAISS reads"):
        FaissIvfIndex(path, lambda rows: gathered[rows], 2000)
