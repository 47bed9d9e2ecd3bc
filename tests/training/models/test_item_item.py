import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.models.item_item import ItemItem, strongest_per_row


def kept(weights: np.ndarray, per_row: int, block: int = 512) -> ItemItem:
    """Keep the strongest of dense shares (M, I, I)."""
    names = ("behaviour", "visual", "textual")[: len(weights)]
    return strongest_per_row(lambda rows: weights[:, rows], weights.shape[1], names, per_row, {}, block=block)


def test_largest_by_size_and_never_itself() -> None:
    weights = np.array([[[9.0, 0.2, -0.5, 0.1], [0.0, 9.0, 0.0, 0.3], [0.0, 0.0, 9.0, 0.0], [0.1, 0.2, 0.3, 9.0]]])
    result = kept(weights, per_row=2)
    assert result.indptr.tolist() == [0, 2, 3, 3, 5]
    assert result.items.tolist() == [1, 2, 3, 1, 2]
    np.testing.assert_allclose(result.values[:, 0], [0.2, -0.5, 0.3, 0.2, 0.3])


def test_the_sum_decides_and_the_shares_are_kept() -> None:
    shares = np.zeros((2, 3, 3))
    shares[:, 0, 1] = 0.6, -0.5  # large parts that cancel
    shares[:, 0, 2] = 0.2, 0.1
    result = kept(shares, per_row=1)
    assert result.items.tolist() == [2]
    assert result.share("behaviour")[0, 2] == pytest.approx(0.2)
    assert result.share("visual")[0, 2] == pytest.approx(0.1)
    assert result.matrix()[0, 2] == pytest.approx(0.2 + 0.1)


def test_some_candidates_go_first_but_only_where_they_have_a_weight() -> None:
    weights = np.array([[[0.0, 0.5, 0.4, 0.1, 0.2], *np.zeros((4, 5))]])
    first = np.array([0, 0, 0, 1, 1], bool)
    result = strongest_per_row(lambda rows: weights[:, rows], 5, ("behaviour",), 3, {}, first=first)
    assert result.items.tolist() == [1, 3, 4]
    assert strongest_per_row(lambda rows: weights[:, rows], 5, ("behaviour",), 1, {}, first=first).items.tolist() == [4]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 12), st.integers(1, 14), st.integers(1, 13), st.integers(1, 3))
def test_matches_the_definition(seed: int, n_items: int, per_row: int, block: int, n_shares: int) -> None:
    weights = np.random.default_rng(seed).normal(size=(n_shares, n_items, n_items)).astype(np.float32)
    result = kept(weights, per_row, block)
    total = weights.sum(axis=0)
    np.fill_diagonal(total, 0)
    expected = np.zeros_like(total)
    for row in range(n_items):
        strongest = np.argsort(-np.abs(total[row]), kind="stable")[:per_row]
        expected[row, strongest] = total[row, strongest]
    np.testing.assert_allclose(result.matrix().toarray(), expected, atol=1e-6)
    assert len(result.items) == n_items * min(per_row, n_items - 1)
