"""The Bayes oracle: what the best possible reader of a user's choices knows about the user's kind.

It knows the generator, all items and the order of choices, but neither kind nor taste. No model can be expected to name
the planted kinds better than this, so recovery figures are read beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.data.demo.choices import KINDS, affinities
from training.data.demo.truth import Truth


@dataclass(frozen=True)
class Oracle:
    """The oracle's verdicts and how often they are right, over pure users only."""

    posterior: NDArray[np.float64]
    """(U, 3) probability of each pure kind, for mixtures too (as if they were pure)."""
    balanced_accuracy: float
    majority_accuracy: float
    """Plain accuracy of always naming the most frequent kind; its balanced accuracy is 1/3."""


def bayes_oracle(truth: Truth) -> Oracle:
    """Return the exact posterior over the pure kinds given each user's choices in order."""
    plan, popularity = truth.plan, truth.items.popularity
    tables = affinities(truth.items)
    weight = popularity * np.exp(plan.strength * np.concatenate(tables))  # (T, I) over the tastes of all kinds
    total = weight.sum(axis=1, keepdims=True)
    prior = np.log([plan.looks_share, plan.description_share, plan.crowd_share])
    kind_of_taste = np.repeat(np.arange(len(KINDS)), [len(table) for table in tables])
    log_prior = (prior - np.log([len(table) for table in tables]))[kind_of_taste]
    posterior = np.empty((len(truth.user_ids), len(KINDS)))
    for user_row, (start, stop) in enumerate(zip(truth.choices.offsets, truth.choices.offsets[1:], strict=False)):
        chosen = truth.choices.item_row[start:stop]
        by_taste = weight[:, chosen] / (total - _before(weight[:, chosen]))
        by_exposure = popularity[chosen] / (1 - _before(popularity[chosen]))
        likelihood = np.log((1 - plan.noise) * by_taste + plan.noise * by_exposure).sum(axis=1) + log_prior
        evidence = np.array([np.logaddexp.reduce(likelihood[kind_of_taste == kind]) for kind in range(len(KINDS))])
        posterior[user_row] = np.exp(evidence - np.logaddexp.reduce(evidence))
    pure = truth.users.kind < len(KINDS)
    kinds = truth.users.kind[pure]
    return Oracle(
        posterior=posterior,
        balanced_accuracy=balanced_accuracy(kinds, posterior[pure].argmax(axis=1)),
        majority_accuracy=float(np.bincount(kinds).max() / len(kinds)),
    )


def balanced_accuracy(expected: NDArray[np.int64], found: NDArray[np.int64]) -> float:
    """Return the mean over the expected classes of the share found right."""
    return float(np.mean([np.mean(found[expected == kind] == kind) for kind in np.unique(expected)]))


def _before(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sum of all earlier values along the last axis."""
    sums: NDArray[np.float64] = np.cumsum(values, axis=-1) - values
    return sums
