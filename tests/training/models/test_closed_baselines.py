"""EASE, ItemKNN and popularity against their definitions, and what they put into a snapshot."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from training.config import ConfigError, model_settings
from training.data.dataset import Dataset
from training.data.features import FeatureMatrix
from training.data.interactions import Interactions
from training.data.items import bare_items
from training.data.splits import Split, everything, split_dataset
from training.evaluation.protocol import evaluate
from training.fit.run import Run
from training.models.ease import EaseConfig, EaseRecipe
from training.models.item_knn import ItemKnnConfig, ItemKnnRecipe, KnnSettings, fit_item_knn
from training.models.popularity import PopularityConfig, PopularityRecipe
from training.models.protocol import FittedModel, MissingRequirement, Recipe

N_USERS, N_ITEMS, N_KINDS = 150, 60, 6
RECIPES: list[tuple[Recipe, Any]] = [
    (PopularityRecipe(), PopularityConfig()),
    (ItemKnnRecipe(), ItemKnnConfig(neighbours=(5, 20), shrink=(0, 10))),
    (EaseRecipe(), EaseConfig()),
    (EaseRecipe(), EaseConfig(content=True)),
]


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Users like one kind of item each; the one modality, sound, tells the kind."""
    rng = np.random.default_rng(5)
    kind, likes = rng.integers(0, N_KINDS, N_ITEMS), rng.integers(0, N_KINDS, N_USERS)
    user_row, item_row = np.nonzero(rng.random((N_USERS, N_ITEMS)) < 0.02 + 0.6 * (likes[:, None] == kind[None]))
    sound = (np.eye(N_KINDS)[kind] + 0.3 * rng.normal(size=(N_ITEMS, N_KINDS))).astype(np.float32)
    return Dataset(
        name="planted",
        user_ids=[f"u{row}" for row in range(N_USERS)],
        items=bare_items(Path("nowhere"), [f"i{row}" for row in range(N_ITEMS)]),
        interactions=Interactions(user_row.astype(np.int32), item_row.astype(np.int32)),
        features={"acoustic": FeatureMatrix("acoustic", sound, np.ones(N_ITEMS, bool), None)},
    )


@pytest.fixture(scope="module")
def split(dataset: Dataset) -> Split:
    return split_dataset(dataset, "random", seed=1)


def recall(model: FittedModel, split: Split) -> float:
    return evaluate(model.score_block, split, "test").means()["recall@10"]


@pytest.mark.parametrize("settings", [{"neighbours": [20, 0]}, {"shrink": [-1.0]}])
def test_neighbourhoods_that_are_none_are_refused(settings: dict[str, Any]) -> None:
    (name,) = settings
    with pytest.raises(ConfigError, match=rf"settings\.{name}\.\d: .* greater than or equal to"):
        model_settings(ItemKnnConfig, settings)


def test_a_content_prior_without_content_is_refused(dataset: Dataset, split: Split, tmp_path: Path) -> None:
    poorer = replace(dataset, features={})
    with pytest.raises(MissingRequirement, match="'planted' has none"):
        EaseRecipe().fit(poorer, split, EaseConfig(content=True), Run(tmp_path))
    EaseRecipe().fit(poorer, split, EaseConfig(reg=10.0), Run(tmp_path))


def test_personal_baselines_beat_popularity(dataset: Dataset, split: Split, tmp_path: Path) -> None:
    popularity, knn, *closed = (recall(r.fit(dataset, split, c, Run(tmp_path)), split) for r, c in RECIPES)
    assert popularity < knn
    assert popularity < min(closed)


@pytest.mark.parametrize(("recipe", "config"), RECIPES, ids=lambda value: getattr(value, "name", None))
def test_refit_counts_everything_with_the_same_settings(
    recipe: Recipe, config: Any, dataset: Dataset, split: Split, tmp_path: Path
) -> None:
    fitted = recipe.fit(dataset, split, config, Run(tmp_path))
    everybody = np.arange(N_USERS)
    same = recipe.refit(fitted, dataset, split, config, Run(tmp_path))
    np.testing.assert_array_equal(same.score_block(everybody), fitted.score_block(everybody))
    more = recipe.refit(fitted, dataset, everything(dataset), config, Run(tmp_path))
    assert not np.array_equal(more.score_block(everybody), fitted.score_block(everybody))


def test_popularity_is_the_number_of_interactions(dataset: Dataset, split: Split, tmp_path: Path) -> None:
    model = PopularityRecipe().fit(dataset, split, PopularityConfig(), Run(tmp_path))
    np.testing.assert_array_equal(model.score_block(np.array([0, 7])), [split.train.toarray().sum(axis=0)] * 2)
    np.testing.assert_array_equal(model.snapshot_content().arrays["popularity"], model.score_block(np.array([0]))[0])


def test_item_knn_golden() -> None:
    # item 0 has users {0, 1, 2}, item 1 {0, 1}, item 2 {2, 3}
    train = sparse.csr_array(np.array([[1, 1, 0], [1, 1, 0], [1, 0, 1], [0, 0, 1]], np.float32))
    cosine = fit_item_knn(train, KnnSettings(neighbours=3, shrink=0)).matrix().toarray()
    expected = [[0, 2 / np.sqrt(3 * 2), 1 / np.sqrt(3 * 2)], [2 / np.sqrt(3 * 2), 0, 0], [1 / np.sqrt(3 * 2), 0, 0]]
    np.testing.assert_allclose(cosine, expected, rtol=1e-6)
    shrunk = fit_item_knn(train, KnnSettings(neighbours=1, shrink=4)).matrix().toarray()
    assert shrunk[0].tolist() == pytest.approx([0, 2 / (np.sqrt(3 * 2) + 4), 0])  # one neighbour per history item
    assert shrunk[2].tolist() == pytest.approx([1 / (np.sqrt(3 * 2) + 4), 0, 0])


def test_ease_takes_a_given_regularisation(dataset: Dataset, split: Split, tmp_path: Path) -> None:
    for content in (False, True):
        model = EaseRecipe().fit(dataset, split, EaseConfig(reg=7.0, content=content), Run(tmp_path))
        assert model.training_facts()["lambda"] == 7.0
        assert (model.training_facts()["c"] > 0) == content


def test_item_item_arrays_give_the_scores_back(dataset: Dataset, split: Split, tmp_path: Path) -> None:
    model = EaseRecipe().fit(dataset, split, EaseConfig(content=True), Run(tmp_path))
    content = model.snapshot_content()
    assert content.scoring == "item-item"
    assert set(content.terms[0].modalities) == {"behaviour", "acoustic"}
    values = content.arrays["item_item_values"]
    assert values.shape == (len(content.arrays["item_item_items"]), 2)
    weights = sparse.csr_array(
        (
            values.astype(np.float32).sum(axis=1),
            content.arrays["item_item_items"],
            content.arrays["item_item_indptr"],
        ),
        shape=(N_ITEMS, N_ITEMS),
    )
    users = np.arange(N_USERS)
    np.testing.assert_allclose((split.train @ weights).toarray(), model.score_block(users), atol=5e-3)
