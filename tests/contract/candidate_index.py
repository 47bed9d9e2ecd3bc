"""What every candidate index must do, against exact NumPy; an implementation's tests inherit it and give `build`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from service.retrieval.protocol import CandidateIndex

N_ITEMS = 700
WIDTH = 16
F32 = NDArray[np.float32]


def exact(vectors: F32, query: F32, depth: int, allowed: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """The oracle: the best rows, best first."""
    scores = vectors.astype(np.float64) @ query
    if allowed is not None:
        scores = np.where(allowed, scores, -np.inf)
    rows = np.argsort(-scores, kind="stable")[:depth]
    return rows[np.isfinite(scores[rows])]


class CandidateIndexContract(ABC):
    """Inherit, and give `build`."""

    @abstractmethod
    def build(self, vectors: NDArray[np.floating]) -> CandidateIndex:
        """The index over these vectors (I, D)."""

    @pytest.fixture
    def vectors(self) -> F32:
        return np.random.default_rng(0).normal(size=(N_ITEMS, WIDTH)).astype(np.float32)

    @pytest.fixture
    def queries(self) -> F32:
        return np.random.default_rng(1).normal(size=(9, WIDTH)).astype(np.float32)

    @pytest.mark.parametrize("depth", [1, 20, N_ITEMS])
    def test_equals_exact_search(self, vectors: F32, queries: F32, depth: int) -> None:
        found = self.build(vectors).search(queries, depth)
        assert found.shape == (len(queries), depth)
        for rows, query in zip(found, queries, strict=True):
            scores = vectors @ query
            np.testing.assert_allclose(scores[rows], scores[exact(vectors, query, depth)], rtol=1e-5)
            assert len(set(rows.tolist())) == depth

    @pytest.mark.parametrize("share", [0.5, 0.02, 0.0])
    def test_a_restriction_is_never_broken_and_is_filled_up(self, vectors: F32, queries: F32, share: float) -> None:
        allowed = np.random.default_rng(2).random(N_ITEMS) < share
        for rows, query in zip(self.build(vectors).search(queries, 50, allowed), queries, strict=True):
            expected = exact(vectors, query, 50, allowed)
            assert (rows[len(expected) :] == -1).all()
            assert set(rows[: len(expected)].tolist()) == set(expected.tolist())

    def test_a_batch_equals_its_queries_one_by_one(self, vectors: F32, queries: F32) -> None:
        index = self.build(vectors)
        batch = index.search(queries, 30)
        for rows, query in zip(batch, queries, strict=True):
            np.testing.assert_array_equal(rows, index.search(query[None], 30)[0])

    def test_more_than_there_is(self, vectors: F32, queries: F32) -> None:
        rows = self.build(vectors[:5]).search(queries[:1], 50)[0]
        assert sorted(rows[rows >= 0].tolist()) == [0, 1, 2, 3, 4]

    def test_half_precision_in_blocks_is_read_as_it_is(self, vectors: F32, queries: F32) -> None:
        half = vectors.astype(np.float16)
        index = self.build(half)
        wanted = exact(half.astype(np.float32), queries[0], 20)
        np.testing.assert_array_equal(np.sort(index.search(queries[:1], 20)[0]), np.sort(wanted))
        np.testing.assert_array_equal(index.vectors(np.array([3, 699])), half[[3, 699]].astype(np.float32))

    def test_callers_at_once_do_not_disturb_each_other(self, vectors: F32, queries: F32) -> None:
        index = self.build(vectors)
        expected = [index.search(query[None], 20)[0].tolist() for query in queries]
        allowed = np.arange(N_ITEMS) < 100

        def ask(number: int) -> bool:
            if number % 2:
                return bool((index.search(queries[:1], 20, allowed)[0] < 100).all())
            place = number % len(queries)
            return bool(index.search(queries[place : place + 1], 20)[0].tolist() == expected[place])

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(ask, range(400)))
