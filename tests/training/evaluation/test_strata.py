import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from training.evaluation.strata import ITEM_STRATA, USER_STRATA, item_strata, user_strata


def train_with_degrees(degrees: list[int]) -> sparse.csr_array:
    n_users = max([*degrees, 1])
    return sparse.csr_array((np.arange(n_users)[:, None] < np.array(degrees)).astype(np.float32))


def test_thirds_of_the_interactions() -> None:
    # 12 interactions; gathered before each item in order of popularity: 0, 4, 7, 9, 10, 11 → thirds are 4 and 8
    strata = item_strata(train_with_degrees([1, 4, 0, 3, 2, 1, 1]))
    assert {name: np.flatnonzero(strata[name]).tolist() for name in ("head", "middle", "tail", "cold")} == {
        "head": [1],
        "middle": [3, 4],
        "tail": [0, 5, 6],
        "cold": [2],
    }


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_popularity_groups_are_a_partition(degrees: list[int]) -> None:
    strata = item_strata(train_with_degrees(degrees))
    assert tuple(strata) == ITEM_STRATA
    np.testing.assert_array_equal(sum(strata[name].astype(int) for name in ("head", "middle", "tail", "cold")), 1)
    popularity = np.array(degrees)
    for upper, lower in (("head", "middle"), ("middle", "tail"), ("tail", "cold")):
        if strata[upper].any() and strata[lower].any():
            assert popularity[strata[upper]].min() >= popularity[strata[lower]].max()


def test_any_missing_modality_counts() -> None:
    train = train_with_degrees([1, 1, 1])
    strata = item_strata(train, [np.array([True, False, True]), np.array([True, True, False])])
    assert strata["missing-modality"].tolist() == [False, True, True]
    assert not item_strata(train)["missing-modality"].any()


def test_histories_are_cut_at_the_median_of_those_who_have_one() -> None:
    train = sparse.csr_array((np.arange(6) < np.array([[0], [1], [2], [3], [4], [6]])).astype(np.float32))
    strata = user_strata(train)
    assert tuple(strata) == USER_STRATA
    assert strata["short-history"].tolist() == [True, True, True, True, False, False]  # median of 1, 2, 3, 4, 6
    np.testing.assert_array_equal(strata["long-history"], ~strata["short-history"])
