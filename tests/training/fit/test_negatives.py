"""Negatives are uniform over what a user has not taken."""

import numpy as np
from scipy import sparse

from training.fit.negatives import NegativeSampler

TRAIN = sparse.csr_array(np.array([[1, 0, 0, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]], np.float32))


def test_never_an_item_that_was_taken_and_every_other_alike() -> None:
    users = np.repeat([0, 1, 2], 6000)
    drawn = NegativeSampler(TRAIN).draw(users, np.random.default_rng(0))
    assert not TRAIN.toarray()[users, drawn].any()
    for user, free in ((0, [1, 2, 4]), (1, [0, 1, 2, 3, 4]), (2, [4])):
        shares = np.bincount(drawn[users == user], minlength=5)[free] / 6000
        np.testing.assert_allclose(shares, 1 / len(free), atol=0.03)


def test_only_allowed_items() -> None:
    allowed = np.array([True, False, True, False, True])
    drawn = NegativeSampler(TRAIN, allowed).draw(np.zeros(500, np.int64), np.random.default_rng(0))
    assert set(drawn) == {2, 4}


def test_who_has_taken_everything_gets_something_in_bounded_time() -> None:
    drawn = NegativeSampler(TRAIN).draw(np.array([3, 3]), np.random.default_rng(0))
    assert drawn.shape == (2,)


def test_no_interactions_at_all() -> None:
    sampler = NegativeSampler(sparse.csr_array(np.zeros((2, 3), np.float32)))
    assert set(sampler.draw(np.zeros(100, np.int64), np.random.default_rng(0))) == {0, 1, 2}


def test_the_same_generator_draws_the_same() -> None:
    first, second = (NegativeSampler(TRAIN).draw(np.zeros(50, np.int64), np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
