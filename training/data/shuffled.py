"""The control of content: every item gets the content of another one, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from training.data.dataset import Dataset


def with_shuffled_features(dataset: Dataset, *, seed: int) -> Dataset:
    """The dataset with one permutation of items applied to the rows of every feature matrix.

    What an item's modalities say of each other, and which rows are missing together, stays as it was; only their tie
    to what people did is cut.
    """
    order = np.random.default_rng([seed, 29]).permutation(dataset.n_items)
    shuffled = {
        name: replace(matrix, values=matrix.values[order], present=matrix.present[order])
        for name, matrix in dataset.features.items()
    }
    return replace(dataset, features=shuffled)
