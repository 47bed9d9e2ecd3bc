import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from training.errors import TrainingError
from training.graph.normalise import row_normalise, symmetric_normalise

graphs = hnp.arrays(
    np.float64,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=8),
    elements=st.one_of(st.just(0.0), st.floats(0.125, 8.0, width=32)),
)


def test_bipartite_golden() -> None:
    # user 0 has two items, user 1 one; item 0 has two users, item 1 one, item 2 none
    normalised = symmetric_normalise(sparse.csr_array(np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])))
    expected = [[1 / np.sqrt(2 * 2), 1 / np.sqrt(2 * 1), 0], [1 / np.sqrt(1 * 2), 0, 0]]
    np.testing.assert_allclose(normalised.toarray(), expected, rtol=1e-6)
    assert normalised.dtype == np.float32


@given(graphs)
def test_largest_singular_value_is_one(dense: np.ndarray) -> None:
    normalised = symmetric_normalise(sparse.csr_array(dense)).toarray()
    assert np.linalg.norm(normalised, 2) == pytest.approx(1.0 if dense.any() else 0.0, abs=1e-5)
    assert np.count_nonzero(normalised) == np.count_nonzero(dense)


@given(graphs)
def test_rows_sum_to_one_or_stay_empty(dense: np.ndarray) -> None:
    sums = np.asarray(row_normalise(sparse.csr_array(dense)).sum(axis=1))
    np.testing.assert_allclose(sums, dense.any(axis=1).astype(float), atol=1e-5)


@given(graphs, st.floats(0.5, 4.0))
def test_scale_of_all_weights_does_not_matter(dense: np.ndarray, factor: float) -> None:
    once = symmetric_normalise(sparse.csr_array(dense)).toarray()
    np.testing.assert_allclose(symmetric_normalise(sparse.csr_array(dense * factor)).toarray(), once, rtol=1e-5)


def test_the_input_is_left_alone() -> None:
    graph = sparse.csr_array(np.array([[2.0, 1.0], [0.0, 3.0]]))
    before = graph.toarray()
    symmetric_normalise(graph)
    row_normalise(graph)
    np.testing.assert_array_equal(graph.toarray(), before)


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_meaningless_weights_are_refused(bad: float) -> None:
    with pytest.raises(TrainingError, match="finite and ≥ 0"):
        symmetric_normalise(sparse.csr_array(np.array([[1.0, bad]])))
