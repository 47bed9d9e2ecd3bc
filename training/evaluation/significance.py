"""Is one model better than another? Paired bootstrap over users, Holm's correction over comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.errors import TrainingError

ROUNDING = 1e-9
"""Differences below are those of floating point, not of users."""


@dataclass(frozen=True)
class PairedDifference:
    """Mean over users of `ours − theirs`, what the bootstrap says about it, and how many users there are."""

    mean: float
    low: float
    high: float
    """95 % percentile interval of the mean."""
    p_value: float
    """Two-sided, never below 1 / (resamples + 1)."""
    users: int


def paired_bootstrap(
    ours: NDArray[np.float64], theirs: NDArray[np.float64], *, resamples: int = 10_000, seed: int = 0
) -> PairedDifference:
    """Resample users with replacement and look at the mean difference.

    The p-value is the share of resampled means that lie at least as far from the observed mean as that lies from zero
    (the bootstrap distribution moved to the null hypothesis), the observed sample counted among them.

    Args:
        ours: (n,) a metric per user, or (S, n) for S seeds, which are averaged per user first: users are the unit.
        theirs: the same users in the same order; any number of seeds.
        resamples: how many bootstrap samples.
        seed: of the resampling.

    Raises:
        TrainingError: the users differ in number, there are none, or a value is not finite.

    """
    if np.ndim(ours) not in (1, 2) or np.ndim(theirs) not in (1, 2) or ours.shape[-1] != theirs.shape[-1]:
        raise TrainingError(f"expected metrics of the same users, found shapes {np.shape(ours)} and {np.shape(theirs)}")
    difference = np.atleast_2d(ours).mean(axis=0) - np.atleast_2d(theirs).mean(axis=0)
    if not len(difference) or not np.isfinite(difference).all():
        raise TrainingError("expected a finite metric for every user and at least one user")
    observed = float(difference.mean())
    generator = np.random.default_rng(seed)
    # most differences are 0: draw how often any other one comes up, then which one
    unequal = difference[np.abs(difference) > ROUNDING]
    drawn = generator.binomial(len(difference), len(unequal) / len(difference), size=resamples)
    means = np.empty(resamples)
    at_once = max(1, 2_000_000 // max(len(unequal), 1))
    for start in range(0, resamples, at_once):
        counts = drawn[start : start + at_once]
        sums = np.append(0.0, np.cumsum(unequal[generator.integers(0, max(len(unequal), 1), size=counts.sum())]))
        ends = np.append(0, np.cumsum(counts))
        means[start : start + len(counts)] = (sums[ends[1:]] - sums[ends[:-1]]) / len(difference)
    as_far = np.count_nonzero(np.abs(means - observed) >= abs(observed) - ROUNDING)
    low, high = np.quantile(means, [0.025, 0.975])
    return PairedDifference(observed, float(low), float(high), float((as_far + 1) / (resamples + 1)), len(difference))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment: compare the results with one level for all comparisons together."""
    order = np.argsort(p_values, kind="stable")
    adjusted, running = [0.0] * len(p_values), 0.0
    for place, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = running
    return adjusted
