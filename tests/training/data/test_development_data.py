"""The development data sets load as their README describes them."""

from pathlib import Path

import numpy as np

from training.data.dataset import load_dataset
from training.data.splits import split_dataset


def test_baby(shared_data: Path) -> None:
    dataset = load_dataset(shared_data / "baby")
    assert (dataset.name, dataset.n_users, dataset.n_items) == ("baby", 19_445, 7_050)
    assert len(dataset.interactions) == 160_792
    assert dataset.items.item_ids[:2] == ["0", "1"]
    visual, textual = dataset.features["visual"], dataset.features["textual"]
    assert visual.values.shape == textual.values.shape == (7_050, 128)
    assert (~visual.present).sum() == 13
    assert textual.present.all()
    split = split_dataset(dataset, "auto", seed=0)
    assert split.name == "given"
    assert (split.train.nnz, split.valid.nnz, split.test.nnz) == (119_674, 20_559, 20_559)


def test_our_random_rule_is_the_one_babys_labels_follow(shared_data: Path) -> None:
    dataset = load_dataset(shared_data / "baby")
    ours, theirs = (split_dataset(dataset, method, seed=0) for method in ("random", "given"))
    assert np.array_equal(np.diff(ours.valid.indptr), np.diff(theirs.valid.indptr))
    assert np.array_equal(np.diff(ours.test.indptr), np.diff(theirs.test.indptr))


def test_movielens(shared_data: Path) -> None:
    dataset = load_dataset(shared_data / "movielens")
    assert (dataset.n_users, dataset.n_items, len(dataset.interactions)) == (610, 2_863, 58_380)
    assert dataset.items.titles[0] == "Toy Story (1995)"
    assert dataset.items.categories[0][:2] == ("Adventure", "Animation")
    assert dataset.items.images[0] == shared_data / "movielens" / "posters" / "1.jpg"
    assert all(image is not None for image in dataset.items.images)
    liked = load_dataset(shared_data / "movielens", min_rating=3.5)
    assert liked.items.item_ids == dataset.items.item_ids
    assert liked.interactions.rating is not None
    assert liked.interactions.rating.min() == 3.5
    for method in ("leave-last", "global-time", "cold-items", "random"):
        split = split_dataset(liked, method, seed=0)
        assert split.train.nnz + split.valid.nnz + split.test.nnz == len(liked.interactions)
