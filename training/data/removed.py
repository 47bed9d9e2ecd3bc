"""Content taken away on purpose: modalities altogether, or a share of the rows of every one."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np

from training.data.dataset import Dataset
from training.errors import DatasetError


def without_modalities(dataset: Dataset, names: Collection[str]) -> Dataset:
    """The dataset without these content modalities.

    Raises:
        DatasetError: it has no such modality.

    """
    if unknown := sorted(set(names) - dataset.features.keys()):
        raise DatasetError(
            Path(dataset.name), f"expected modalities out of {sorted(dataset.features)}, found {unknown}"
        )
    kept = {name: matrix for name, matrix in dataset.features.items() if name not in names}
    return replace(dataset, features=kept)


def with_masked_features(dataset: Dataset, share: float, *, seed: int) -> Dataset:
    """The dataset with `share` of the rows that each modality has gone missing, modality by modality, at random."""
    masked = {}
    for place, (name, matrix) in enumerate(dataset.features.items()):
        rows = np.flatnonzero(matrix.present)
        gone = np.random.default_rng([seed, 31, place]).permutation(rows)[: round(share * len(rows))]
        values, present = matrix.values.copy(), matrix.present.copy()
        values[gone], present[gone] = 0, False
        masked[name] = replace(matrix, values=values, present=present)
    return replace(dataset, features=masked)
