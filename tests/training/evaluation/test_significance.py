import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.errors import TrainingError
from training.evaluation.significance import holm, paired_bootstrap


def test_holm_golden() -> None:
    # ordered .01, .02, .03, .04 → 4 × .01, 3 × .02, max(3 × .02, 2 × .03), max(…, 1 × .04)
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_holm_never_helps_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = np.array(holm(p_values))
    assert (adjusted >= np.array(p_values)).all()
    assert (np.diff(adjusted[np.argsort(p_values, kind="stable")]) >= 0).all()


def test_interval_and_p_agree_with_the_normal_approximation() -> None:
    rng = np.random.default_rng(0)
    theirs = rng.random(4000)
    ours = theirs + rng.normal(0.01, 0.2, 4000)
    result = paired_bootstrap(ours, theirs, resamples=4000)
    error = (ours - theirs).std() / np.sqrt(4000)
    assert result.mean == pytest.approx((ours - theirs).mean())
    assert result.low == pytest.approx(result.mean - 1.96 * error, abs=0.15 * error)
    assert result.high == pytest.approx(result.mean + 1.96 * error, abs=0.15 * error)
    assert result.users == 4000


def test_p_values_are_uniform_when_nothing_differs() -> None:
    rng = np.random.default_rng(1)
    p_values = [
        paired_bootstrap(rng.normal(size=200), rng.normal(size=200), resamples=200, seed=seed).p_value
        for seed in range(200)
    ]
    assert np.mean(np.array(p_values) <= 0.1) == pytest.approx(0.1, abs=0.06)
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.07)


def test_equal_models_do_not_differ() -> None:
    same = np.random.default_rng(2).random(50)
    assert paired_bootstrap(same, same, resamples=500).p_value == 1.0


def test_clear_difference_reaches_the_smallest_p() -> None:
    theirs = np.random.default_rng(3).random(50)
    assert paired_bootstrap(theirs + 1.0, theirs, resamples=499).p_value == pytest.approx(1 / 500)


@pytest.mark.parametrize(("users", "better", "worse"), [(30, 10, 3), (25, 5, 0)])
def test_means_that_tie_with_the_observed_one_are_as_far(users: int, better: int, worse: int) -> None:
    """Metrics in thirds tie often, and then p has to count all of them: against the exact distribution of the sum."""
    step = np.array([worse, users - better - worse, better]) / users
    chances = np.ones(1)
    for _ in range(users):
        chances = np.convolve(chances, step)
    distance = np.abs(np.arange(-users, users + 1) - (better - worse))
    exact = chances[distance >= better - worse].sum()
    ours = np.zeros(users)
    ours[:better], ours[better : better + worse] = 1 / 3, -1 / 3
    found = [paired_bootstrap(ours, np.zeros(users), resamples=20_000, seed=seed).p_value for seed in range(10)]
    assert np.mean(found) == pytest.approx(exact, abs=0.0025)  # 4 standard errors


def test_seeds_are_averaged_per_user() -> None:
    rng = np.random.default_rng(4)
    ours, theirs = rng.random((3, 80)), rng.random(80)
    assert paired_bootstrap(ours, theirs, resamples=300) == paired_bootstrap(ours.mean(0), theirs, resamples=300)


@pytest.mark.parametrize("theirs", [np.zeros(4), np.zeros((2, 4)), np.full(5, np.nan)])
def test_unequal_users_or_nan_are_refused(theirs: np.ndarray) -> None:
    with pytest.raises(TrainingError, match="expected"):
        paired_bootstrap(np.zeros(5), theirs)
