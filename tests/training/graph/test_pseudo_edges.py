import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from training.errors import TrainingError
from training.graph.pseudo_edges import pseudo_edges


def world(seed: int, n_users: int = 30, n_items: int = 20) -> tuple[sparse.csr_array, sparse.csr_array]:
    rng = np.random.default_rng(seed)
    train = (rng.random((n_users, n_items)) < 0.15).astype(np.float32)
    train[:, -1] = 0  # an item nobody has
    content = np.triu(rng.random((n_items, n_items)) * (rng.random((n_items, n_items)) < 0.3), 1)
    return sparse.csr_array(train), sparse.csr_array((content + content.T).astype(np.float32))


def by_definition(
    train: sparse.csr_array, content: sparse.csr_array, q: int, q_tail: int, quantile: float
) -> np.ndarray:
    history, degree = train.toarray(), train.toarray().sum(0)
    length = np.maximum(history.sum(1, keepdims=True), 1)
    strength = np.where(history > 0, 0, (history / np.sqrt(length)) @ content.toarray())
    kept = np.zeros_like(strength, bool)
    for user in range(len(strength)):
        kept[user, np.argsort(-strength[user], kind="stable")[:q]] = True
    for item in np.flatnonzero(degree <= np.quantile(degree, quantile)):
        kept[np.argsort(-strength[:, item], kind="stable")[:q_tail], item] = True
    return np.where(kept, strength, 0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 4), st.integers(0, 4), st.floats(0, 1), st.integers(1, 40))
def test_matches_the_definition(seed: int, q: int, q_tail: int, quantile: float, block: int) -> None:
    train, content = world(seed)
    edges = pseudo_edges(train, content, per_user=q, per_tail_item=q_tail, tail_quantile=quantile, block=block)
    np.testing.assert_allclose(edges.toarray(), by_definition(train, content, q, q_tail, quantile), atol=1e-5)
    assert edges.multiply(train).nnz == 0


def test_golden_strength() -> None:
    train = sparse.csr_array(np.array([[1, 1, 0, 0]], np.float32))
    content = np.zeros((4, 4), np.float32)
    content[0, 2] = content[2, 0] = 0.5
    content[1, 2] = content[2, 1] = 0.25
    content[0, 1] = content[1, 0] = 0.9  # both ends known: no edge
    edges = pseudo_edges(train, sparse.csr_array(content), per_user=5, per_tail_item=0)
    assert edges.nnz == 1
    assert edges[0, 2] == pytest.approx((0.5 + 0.25) / np.sqrt(2))


def test_item_without_interactions_gets_its_users() -> None:
    train, content = world(seed=1)
    with_tail = pseudo_edges(train, content, per_user=1, per_tail_item=3, tail_quantile=0.1)
    assert np.diff(with_tail.tocsc().indptr)[-1] >= 3


def test_user_without_history_gets_nothing() -> None:
    train, content = world(seed=2)
    emptied = sparse.csr_array(train.toarray() * (np.arange(30) != 4)[:, None])
    assert pseudo_edges(emptied, content)[[4]].nnz == 0


def test_wrong_shape_is_refused() -> None:
    train, content = world(seed=3)
    with pytest.raises(TrainingError, match=r"\(20, 20\)"):
        pseudo_edges(train, content[:10, :10])
