import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from training.errors import TrainingError
from training.graph.content import centred_unit_rows, content_knn, graph_of, neighbour_lists


def features(n_items: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(3.0, 1.0, (n_items, width)).astype(np.float32)


def dense_cosine(values: np.ndarray, present: np.ndarray) -> np.ndarray:
    """The definition, in float64: cosine of rows centred over the present ones."""
    centred = values.astype(np.float64) - values[present].astype(np.float64).mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    cosine: np.ndarray = unit @ unit.T
    cosine[~present], cosine[:, ~present] = -1, -1
    np.fill_diagonal(cosine, -1)
    return cosine


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 60), st.integers(2, 8), st.integers(0, 2**31), st.integers(1, 12), st.integers(1, 50))
def test_lists_hold_the_nearest_items(n_items: int, width: int, seed: int, k: int, block: int) -> None:
    values = features(n_items, width, seed)
    present = np.random.default_rng(seed + 1).random(n_items) < 0.8
    if present.sum() < 2:
        present[:] = True
    lists = neighbour_lists(values, present, k=k, block=block)
    cosine = dense_cosine(values, present)
    best = -np.sort(-cosine, axis=1)[:, :k]
    np.testing.assert_allclose(lists.values[:, : best.shape[1]], np.where(best > 0, best, 0), atol=2e-5)
    rows = np.broadcast_to(np.arange(n_items)[:, None], lists.items.shape)
    listed = lists.items >= 0
    np.testing.assert_allclose(cosine[rows[listed], lists.items[listed]], lists.values[listed], atol=2e-5)
    assert listed[~present].sum() == 0
    assert lists.n_edges == np.count_nonzero(lists.values)


def test_equal_items_are_neighbours_but_never_of_themselves() -> None:
    values = np.repeat(features(4, 5, seed=0), 6, axis=0)  # six copies of each of four items, k below the copies
    lists = neighbour_lists(values, np.ones(24, bool), k=3)
    np.testing.assert_allclose(lists.values, 1.0, atol=1e-5)
    assert (lists.items // 6 == np.arange(24)[:, None] // 6).all()
    assert (lists.items != np.arange(24)[:, None]).all()


def test_missing_rows_have_no_edges_whatever_they_hold() -> None:
    values, present = features(30, 4, seed=1), np.ones(30, bool)
    present[[3, 7]] = False
    values[3], values[7] = np.nan, values[8]
    graph = content_knn(values, present, k=5)
    assert graph[[3, 7]].nnz == 0
    assert graph[:, [3, 7]].nnz == 0
    assert graph.nnz > 100


@pytest.mark.parametrize("n_present", [0, 1])
def test_too_few_items_give_an_empty_graph(n_present: int) -> None:
    present = np.arange(5) < n_present
    graph = content_knn(features(5, 3, seed=2), present)
    assert graph.shape == (5, 5)
    assert graph.nnz == 0


def test_a_constant_feature_has_no_direction() -> None:
    unit, directed = centred_unit_rows(np.full((6, 3), 0.1, np.float32), np.ones(6, bool))
    assert not directed.any()
    assert not unit.any()


def test_graph_is_undirected_and_counts_its_edges() -> None:
    lists = neighbour_lists(features(40, 6, seed=3), np.ones(40, bool), k=4)
    graph = graph_of(lists)
    pairs = {
        frozenset((row, int(item))) for row in range(40) for item in lists.items[row] if item >= 0
    }  # an edge wherever either end lists the other
    assert graph.nnz == 2 * len(pairs)
    np.testing.assert_allclose(graph.toarray(), graph.T.toarray(), atol=1e-7)
    assert not graph.diagonal().any()


def test_hub_keeps_its_strongest_admirers() -> None:
    angles = np.concatenate([[0.0], np.linspace(0.1, 0.9, 9), np.linspace(2.0, 5.0, 10)])
    values = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    lists = neighbour_lists(values, np.ones(20, bool), k=9)
    capped = graph_of(lists, hub_cap=2)
    in_lists = np.bincount(lists.items[lists.items >= 0], minlength=20)
    assert in_lists.max() > 2  # there is something to cap
    # each item lists up to 9 others but is kept by at most 2: 20 × 2 directed edges at most
    assert capped.nnz <= 2 * 20 * 2
    strength = {(r, int(i)): v for r in range(20) for i, v in zip(lists.items[r], lists.values[r], strict=True)}
    hub = int(in_lists.argmax())
    admirers = sorted((r for r in range(20) if (r, hub) in strength), key=lambda r: -strength[r, hub])
    assert {admirers[0], admirers[1]} <= set(sparse.csr_array(capped)[[hub]].indices.tolist())


def test_same_input_same_graph() -> None:
    values = features(200, 8, seed=4)
    first, second = (content_knn(values, np.ones(200, bool)) for _ in range(2))
    np.testing.assert_array_equal(first.toarray(), second.toarray())


def test_a_present_row_must_be_finite() -> None:
    values = features(5, 3, seed=5)
    values[2, 1] = np.nan
    with pytest.raises(TrainingError, match="row 2"):
        neighbour_lists(values, np.ones(5, bool))
