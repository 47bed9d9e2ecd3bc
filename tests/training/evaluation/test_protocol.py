from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from training.data.splits import Split
from training.errors import TrainingError
from training.evaluation.protocol import AMONG_COLD, evaluate

# Six items; 4 and 5 are cold. Users 0 and 1 have a test positive, user 2 has none.
TRAIN = np.array([[1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0]], np.float32)
VALID = np.array([[0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]], np.float32)
TEST = np.array([[0, 0, 1, 0, 1, 0], [0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0]], np.float32)
SCORES = np.array([[9, 5, 4, 3, 1, 2], [9, 8, 1, 2, 3, 0], [0, 0, 0, 0, 0, 0]], np.float32)


def split(test: np.ndarray = TEST) -> Split:
    return Split(
        train=sparse.csr_array(TRAIN),
        valid=sparse.csr_array(VALID),
        test=sparse.csr_array(test),
        train_order=None,
        cold_items=np.array([0, 0, 0, 0, 1, 1], bool),
        name="by hand",
        seed=0,
    )


def scores(rows: np.ndarray) -> np.ndarray:
    of_rows: np.ndarray = SCORES[rows]
    return of_rows


def test_training_items_are_masked_and_validation_items_are_not() -> None:
    result = evaluate(scores, split(), "test", cutoffs=(2, 5))
    assert result.overall.user_rows.tolist() == [0, 1]
    assert result.ranked[0, :5].tolist() == [1, 2, 3, 5, 4]  # item 1 is user 0's validation positive
    assert result.ranked[1, :4].tolist() == [4, 3, 2, 5]
    assert result.overall.values["recall@2"].tolist() == [1 / 2, 0 / 1]
    assert result.means()["recall@5"] == 1.0
    assert result.means()["users"] == 2


def test_validation_part_is_measured_by_its_own_positives() -> None:
    result = evaluate(scores, split(), "valid", cutoffs=(1,))
    assert result.overall.user_rows.tolist() == [0]
    assert result.means()["ndcg@1"] == 1.0


def test_cold_items_are_ranked_among_all_and_among_themselves() -> None:
    result = evaluate(scores, split(), "test", cutoffs=(1, 4))
    among_all, among_cold = result.strata["cold"], result.strata[AMONG_COLD]
    assert among_all.user_rows.tolist() == among_cold.user_rows.tolist() == [0, 1]
    assert among_all.values["recall@4"].tolist() == [0.0, 1.0]  # item 4 stands fifth for user 0, item 5 fourth for 1
    assert among_cold.values["recall@1"].tolist() == [0.0, 0.0]  # both users prefer the other cold item
    np.testing.assert_allclose(among_cold.values["ndcg@4"], [1 / np.log2(3), 1 / np.log2(3)])


def test_strata_count_only_their_own_positives() -> None:
    result = evaluate(scores, split(), "test", present=[np.array([1, 1, 0, 1, 1, 1], bool)], cutoffs=(2,))
    assert result.strata["missing-modality"].user_rows.tolist() == [0]
    assert result.strata["missing-modality"].values["recall@2"].tolist() == [1.0]  # item 2 stands second
    assert result.strata_means()["short-history"]["users"] == 2  # median of 1, 2, 4
    assert "long-history" not in result.strata  # user 2 has no positive
    assert "head" not in result.strata  # nobody's positive is a popular item


def test_who_has_no_history_gets_the_popular_items_whatever_the_model() -> None:
    train = TRAIN.copy()
    train[1] = 0
    of_two = replace(split(), train=sparse.csr_array(train))
    result = evaluate(scores, of_two, "test", cutoffs=(1,))
    assert result.ranked[0].tolist()[:3] == [1, 2, 3]  # by the model's scores
    assert result.ranked[1].tolist()[:4] == [0, 1, 2, 3]  # by 2, 1, 1, 1 interactions
    assert result.strata["no-history"].user_rows.tolist() == [1]
    assert result.strata["some-history"].user_rows.tolist() == [0]
    assert "some-history" not in evaluate(scores, split(), "test").strata  # everybody has one


def test_catalogue_statistics_are_reported() -> None:
    means = evaluate(scores, split(), "test").means()
    assert means["coverage@20"] == 5 / 6  # item 0 is masked for both users
    assert {"gini@20", "novelty@20", "ndcg@50", "recall@5"} <= means.keys()


def test_an_empty_part_is_an_error() -> None:
    with pytest.raises(TrainingError, match="test part of split 'by hand'"):
        evaluate(scores, split(np.zeros_like(TEST)), "test")
