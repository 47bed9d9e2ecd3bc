"""The linear form of a user: exact where users are linear in their history, and the same form that is served."""

import numpy as np
import pytest

from model_store.scoring.linear_user import history_weights
from tests.support.tiny_dataset import tiny_dataset
from training.data.splits import Split, everything
from training.models.embedding.history_map import fit_history_map, weighted_histories


@pytest.fixture(scope="module")
def split() -> Split:
    return everything(tiny_dataset())


@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_weights_are_those_of_serving(split: Split, decay: float) -> None:
    weights = weighted_histories(split, 4, decay).toarray()
    indptr, items = split.history()
    for user in range(len(indptr) - 1):
        kept = items[indptr[user] : indptr[user + 1]][-4:]
        expected = np.zeros(split.train.shape[1])
        expected[kept] = history_weights(len(kept), decay)
        np.testing.assert_allclose(weights[user], expected, rtol=1e-6)


def test_linear_users_are_found_again(split: Split) -> None:
    rng = np.random.default_rng(0)
    items = rng.normal(size=(split.train.shape[1], 6)).astype(np.float32)
    maps, offset = rng.normal(size=(6, 6)), rng.normal(size=6)
    users = (weighted_histories(split, 100, 0.7) @ items @ maps + offset).astype(np.float32)
    found = fit_history_map(users, items, split, cap=100, decay=0.7)
    assert found.explained > 0.999
    np.testing.assert_allclose(found.items, items @ maps, atol=0.05)
    np.testing.assert_allclose(found.offset, offset, atol=0.05)
    other = fit_history_map(users, items, split, cap=100, decay=1.0)
    assert other.explained < found.explained


def test_a_constant_coordinate_goes_into_the_offset(split: Split) -> None:
    rng = np.random.default_rng(1)
    items = rng.normal(size=(split.train.shape[1], 3)).astype(np.float32)
    users = np.concatenate([rng.normal(size=(split.train.shape[0], 2)), np.ones((split.train.shape[0], 1))], axis=1)
    found = fit_history_map(users.astype(np.float32), items, split, cap=100)
    assert found.offset[2] == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(found.items[:, 2], 0, atol=1e-6)


def test_nobody_with_a_history(split: Split) -> None:
    empty = Split(split.train[:0], split.valid[:0], split.test[:0], None, split.cold_items, "none", 0)
    items = np.ones((split.train.shape[1], 3), np.float32)
    found = fit_history_map(np.zeros((0, 3), np.float32), items, empty, cap=5)
    assert not found.items.any()
    assert found.offset.shape == (3,)
