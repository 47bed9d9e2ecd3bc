"""Items without a training interaction: every model ranks them by both protocols, and MAMEX by what they are."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.tiny_dataset import tiny_dataset
from tests.support.tiny_magnet import QUICK
from training.data.dataset import Dataset
from training.data.shuffled import with_shuffled_features
from training.data.splits import Split, split_dataset
from training.evaluation.protocol import AMONG_COLD, evaluate
from training.fit.run import Run
from training.models.mamex import MamexConfig, MamexRecipe
from training.models.registry import RECIPES, recipe_for

SMALL = {
    "embedding_size": 8,
    "batch_size": 256,
    "max_epochs": 2,
    "evaluate_every": 1,
    "patience": 2,
    "pretrained_epochs": 2,
}


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return tiny_dataset(n_users=90, n_items=100)


@pytest.fixture(scope="module")
def split(dataset: Dataset) -> Split:
    return split_dataset(dataset, "cold-items", seed=0)


@pytest.mark.parametrize("name", RECIPES)
def test_cold_items_are_ranked_among_themselves_and_among_all(
    name: str, dataset: Dataset, split: Split, tmp_path: Path
) -> None:
    recipe = recipe_for(name)
    fields = recipe.config_type.model_fields
    small = {**SMALL, "pretrained_epochs": 2}
    settings = QUICK if name == "magnet" else {key: value for key, value in small.items() if key in fields}
    fitted = recipe.fit(dataset, split, recipe.config_type.model_validate(settings), Run(tmp_path))
    cold = np.bincount(split.train.indices, minlength=dataset.n_items) == 0
    assert split.cold_items.sum() == round(0.2 * (dataset.n_items - 4))  # four have no interaction at all
    assert cold[split.cold_items].all()
    assert np.isfinite(fitted.score_block(np.arange(5))[:, cold]).all()
    result = evaluate(fitted.score_block, split, "test")
    among_cold, among_all = result.strata[AMONG_COLD], result.strata["cold"]
    assert among_cold.user_rows.tolist() == among_all.user_rows.tolist()
    easier, harder = (group.values["ndcg@20"] for group in (among_cold, among_all))
    assert np.mean(easier >= harder) > 0.9  # fewer rivals: a worse rank can only come from scores equal to rounding
    assert easier.mean() >= harder.mean()
    assert result.strata["warm"].values["ndcg@20"].mean() > 0


def test_mamex_knows_cold_items_by_their_content_alone(tmp_path: Path) -> None:
    """Every user likes one of four kinds, and content tells the kind: the control has the content of other items."""
    config = MamexConfig(embedding_size=16, batch_size=256, max_epochs=20, patience=20, learning_rate=1e-2)
    dataset, found = tiny_dataset(n_users=120, n_items=150), {}
    for name, data in (("own", dataset), ("shuffled", with_shuffled_features(dataset, seed=1))):
        split = split_dataset(data, "cold-items", seed=0)
        fitted = MamexRecipe().fit(data, split, config, Run(tmp_path / name))
        found[name] = evaluate(fitted.score_block, split, "test").strata
    for group in (AMONG_COLD, "cold"):
        own, control = (found[name][group].values["ndcg@10"].mean() for name in ("own", "shuffled"))
        assert own > 1.5 * control, (group, own, control)
