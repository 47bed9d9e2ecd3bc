"""What the recipe is given: positives held out for the router, and histories no longer than counts."""

from typing import Any

import numpy as np
from scipy import sparse

from tests.support.tiny_dataset import tiny_dataset
from training.data.splits import everything, split_dataset
from training.models.magnet.material import hold_out
from training.models.protocol import capped_histories


def dense(matrix: sparse.csr_array) -> Any:
    return matrix.toarray()


def test_held_out_positives_are_taken_out_and_only_where_there_are_enough() -> None:
    split = split_dataset(tiny_dataset(), "random", seed=0)
    train = split.train
    rest, held_out = hold_out(split, 0.3, seed=1)
    np.testing.assert_array_equal(dense(rest.train) + dense(held_out), dense(train))
    assert not (dense(rest.train) * dense(held_out)).any()
    users, items = np.nonzero(dense(held_out))
    assert (np.diff(train.indptr)[users] > 2).all()
    assert (dense(train).sum(axis=0)[items] > 2).all()
    assert 0.2 < held_out.nnz / train.nnz < 0.35
    np.testing.assert_array_equal(dense(hold_out(split, 0.3, seed=1)[1]), dense(held_out))


def test_nobody_is_left_without_a_positive_and_the_rest_stays_in_order() -> None:
    split = split_dataset(tiny_dataset(), "random", seed=0)
    rest, held_out = hold_out(split, 0.95, seed=1)
    for axis in (0, 1):
        before, after = (dense(part.train).sum(axis=axis) for part in (split, rest))
        np.testing.assert_array_equal(after > 0, before > 0)
    assert held_out.nnz > 0.6 * split.train.nnz
    indptr, items = split.history()
    kept_indptr, kept_items = rest.history()
    for user in range(split.train.shape[0]):
        whole = items[indptr[user] : indptr[user + 1]]
        kept = dense(rest.train)[user, whole] > 0
        np.testing.assert_array_equal(kept_items[kept_indptr[user] : kept_indptr[user + 1]], whole[kept])


def test_capped_histories_are_the_latest_items() -> None:
    split = everything(tiny_dataset())
    capped = capped_histories(split, 3)
    indptr, items = split.history()
    for user in range(split.train.shape[0]):
        latest = items[indptr[user] : indptr[user + 1]][-3:]
        assert set(capped.indices[capped.indptr[user] : capped.indptr[user + 1]]) == set(latest)
    assert capped_histories(split, 1000) is split.train
