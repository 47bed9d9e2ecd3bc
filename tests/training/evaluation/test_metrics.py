from math import log2

import numpy as np
import pytest
from scipy import sparse

from training.errors import TrainingError
from training.evaluation.metrics import (
    NOT_RANKED,
    coverage_at,
    gini_at,
    ndcg_at,
    novelty_at,
    positive_ranks,
    precision_at,
    recall_at,
)

# Two users, six items. User 0 wants {1, 4, 5} and is shown 4, 0, 1, 2; user 1 wants {3} and is shown 0, 3.
RANKED = np.array([[4, 0, 1, 2], [0, 3, -1, -1]], dtype=np.int32)
POSITIVES = sparse.csr_array(np.array([[0, 1, 0, 0, 1, 1], [0, 0, 0, 1, 0, 0]], dtype=np.float32))
RANKS = positive_ranks(RANKED, POSITIVES)


def test_ranks_follow_the_entries_of_the_positives() -> None:
    assert RANKS.tolist() == [2, 0, NOT_RANKED, 1]  # items 1, 4, 5 of user 0, item 3 of user 1


def test_recall() -> None:
    np.testing.assert_allclose(recall_at(1, RANKS, POSITIVES.indptr), [1 / 3, 0 / 1])
    np.testing.assert_allclose(recall_at(2, RANKS, POSITIVES.indptr), [1 / 3, 1 / 1])
    np.testing.assert_allclose(recall_at(4, RANKS, POSITIVES.indptr), [2 / 3, 1 / 1])


def test_precision() -> None:
    np.testing.assert_allclose(precision_at(4, RANKS, POSITIVES.indptr), [2 / 4, 1 / 4])


def test_ndcg_has_a_truncated_ideal() -> None:
    # at 2 the best order of user 0 fills both places, although there are three positives
    at_2 = [(1 / log2(2)) / (1 / log2(2) + 1 / log2(3)), (1 / log2(3)) / (1 / log2(2))]
    np.testing.assert_allclose(ndcg_at(2, RANKS, POSITIVES.indptr), at_2)
    at_4 = [(1 / log2(2) + 1 / log2(4)) / (1 / log2(2) + 1 / log2(3) + 1 / log2(4)), 1 / log2(3)]
    np.testing.assert_allclose(ndcg_at(4, RANKS, POSITIVES.indptr), at_4)


def test_perfect_list_has_full_marks() -> None:
    ranks = positive_ranks(np.array([[5, 4, 1, 0]], np.int32), POSITIVES[[0]])
    for k in (3, 4):
        assert recall_at(k, ranks, np.array([0, 3])) == ndcg_at(k, ranks, np.array([0, 3])) == 1


def test_coverage() -> None:
    assert coverage_at(1, RANKED, 6) == 2 / 6  # items 4 and 0
    assert coverage_at(4, RANKED, 6) == 5 / 6  # 0, 1, 2, 3, 4


def test_gini() -> None:
    # at 2 the exposures are 4, 0, 0, 3 → sorted over six items 0, 0, 0, 1, 1, 2 (item 0 twice, items 3 and 4 once)
    weighted = (-5 * 0) + (-3 * 0) + (-1 * 0) + (1 * 1) + (3 * 1) + (5 * 2)
    assert gini_at(2, RANKED, 6) == pytest.approx(weighted / (6 * 4))
    assert gini_at(1, np.arange(6, dtype=np.int32)[:, None], 6) == pytest.approx(0.0)
    assert gini_at(1, np.zeros((9, 1), np.int32), 6) == pytest.approx((6 - 1) / 6)


def test_novelty_in_bits() -> None:
    degree = np.array([7, 0, 0, 1, 3, 0])
    # 7 users: shown at 2 are items 4, 0 and 0, 3
    expected = (-log2((3 + 1) / 8) - log2((7 + 1) / 8) - log2((7 + 1) / 8) - log2((1 + 1) / 8)) / 4
    assert novelty_at(2, RANKED, degree, n_users=7) == pytest.approx(expected)


def test_user_without_positive_is_refused() -> None:
    with pytest.raises(TrainingError, match="place 1"):
        recall_at(5, np.array([0, 1], np.int32), np.array([0, 1, 1, 2]))


def test_other_number_of_users_is_refused() -> None:
    with pytest.raises(TrainingError, match="2 users"):
        positive_ranks(RANKED[:1], POSITIVES)
