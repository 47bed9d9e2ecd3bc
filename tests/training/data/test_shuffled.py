"""Shuffled features: the same rows, all modalities together, under other items."""

import numpy as np

from tests.support.tiny_dataset import tiny_dataset
from training.data.shuffled import with_shuffled_features


def test_one_permutation_moves_every_modality_and_nothing_else() -> None:
    dataset = tiny_dataset(["visual", "textual"])
    shuffled = with_shuffled_features(dataset, seed=3)
    keys = {name: np.c_[matrix.values, matrix.present] for name, matrix in dataset.features.items()}
    moved = {name: np.c_[matrix.values, matrix.present] for name, matrix in shuffled.features.items()}
    both, both_moved = np.c_[keys["visual"], keys["textual"]], np.c_[moved["visual"], moved["textual"]]
    assert sorted(map(tuple, both.tolist())) == sorted(map(tuple, both_moved.tolist()))
    assert not np.array_equal(both, both_moved)
    assert shuffled.interactions is dataset.interactions
    assert shuffled.items is dataset.items


def test_the_seed_decides() -> None:
    dataset = tiny_dataset(["visual"])
    first, again, other = (with_shuffled_features(dataset, seed=seed).features["visual"].values for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
