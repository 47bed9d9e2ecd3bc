"""What every model of the registry keeps: it fits, refits, and its snapshot scores as the model does.

A model enters this suite by being in the registry. Axes: `U` users, `I` items.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_store.draft import SnapshotDraft
from model_store.scoring import scorer_for
from model_store.store import Store
from tests.support.drafts import AskedOnce, assert_same_top, draft_of
from tests.support.tiny_dataset import tiny_dataset
from tests.support.tiny_magnet import QUICK
from training.data.dataset import Dataset
from training.data.splits import Split, everything, split_dataset
from training.export.measure import measured
from training.export.publish import publish
from training.fit.run import Run
from training.models.protocol import FittedModel, MissingRequirement, Recipe
from training.models.registry import RECIPES, recipe_for

QUICK_SETTINGS: Mapping[str, Mapping[str, Any]] = {"magnet": QUICK}
"""Settings under which a model is fitted in no time; a model without an entry gets those of `SMALL` that it has."""
EXTRAS: Mapping[str, Any] = {"members": 2, "item_item": {"enabled": True}}
"""What a table of comparisons may give every model; those that have these settings are tested with them, too."""
WITH_EXTRAS = [name for name, recipe in RECIPES.items() if set(EXTRAS) <= set(recipe.config_type.model_fields)]
SMALL = {"embedding_size": 8, "batch_size": 64, "max_epochs": 4, "evaluate_every": 1, "patience": 2}


@dataclass(frozen=True)
class Case:
    """A model after `fit` and `refit`."""

    recipe: Recipe
    config: Any
    dataset: Dataset
    split: Split
    fitted: FittedModel
    interactions: Split
    refitted: FittedModel


def quick(recipe: Recipe, extras: Mapping[str, Any] = {}) -> Any:
    """The model's configuration, for a fit that takes no time."""
    fields = recipe.config_type.model_fields
    settings = QUICK_SETTINGS.get(recipe.name, {name: value for name, value in SMALL.items() if name in fields})
    return recipe.config_type.model_validate({**settings, **extras})


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return tiny_dataset()


@pytest.fixture(scope="module", params=[*RECIPES, *(f"{name} with extras" for name in WITH_EXTRAS)])
def case(request: pytest.FixtureRequest, dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Case:
    name, _, extras = request.param.partition(" with ")
    recipe = recipe_for(name)
    config = quick(recipe, EXTRAS if extras else {})
    split = split_dataset(dataset, "leave-last", seed=0)
    run = Run(tmp_path_factory.mktemp(recipe.name), seed=2)
    recipe.check(dataset)
    fitted = recipe.fit(dataset, split, config, run)
    interactions = everything(dataset, seed=0)
    refitted = recipe.refit(fitted, dataset, interactions, config, run)
    return Case(recipe, config, dataset, split, fitted, interactions, refitted)


def test_scores_are_finite_numbers_for_every_user_and_item(case: Case) -> None:
    users = np.arange(case.dataset.n_users)
    for model in (case.fitted, case.refitted):
        scores = model.score_block(users)
        assert scores.shape == (case.dataset.n_users, case.dataset.n_items)
        assert np.isfinite(scores).all()
        assert (np.ptp(scores, axis=1) > 0).any()
        np.testing.assert_allclose(model.score_block(users[[5, 2]]), scores[[5, 2]], rtol=1e-5, atol=1e-6)


def test_seed_training_and_validation_part_decide_everything(case: Case, tmp_path: Path) -> None:
    """The same again, bit by bit, although the test part is gone."""
    without = replace(case.split, test=case.split.test * 0)
    again = case.recipe.fit(case.dataset, without, case.config, Run(tmp_path, seed=2))
    users = np.arange(case.dataset.n_users)
    np.testing.assert_array_equal(again.score_block(users), case.fitted.score_block(users))


@pytest.mark.parametrize("name", RECIPES)
def test_a_catalogue_in_which_every_item_was_taken(name: str, tmp_path: Path) -> None:
    dataset, recipe = tiny_dataset(n_users=120, n_items=30, n_cold=0), recipe_for(name)
    split = split_dataset(dataset, "random", seed=0)
    assert (split.train.sum(axis=0) > 0).all()
    fitted = recipe.fit(dataset, split, quick(recipe), Run(tmp_path, seed=0))
    assert np.isfinite(fitted.score_block(np.arange(dataset.n_users))).all()


def test_facts_are_those_of_metrics_json(case: Case) -> None:
    facts = case.fitted.training_facts()
    for name in ("epochs", "seconds_per_epoch", "stage_switch_epoch"):
        assert isinstance(facts.get(name, 0), int | float | None), name
    if "max_epochs" in case.recipe.config_type.model_fields:
        assert facts["epochs"] > 0


@dataclass(frozen=True)
class Drafts:
    """The refitted model as a snapshot in memory."""

    exact: SnapshotDraft
    stored: SnapshotDraft
    files: dict[str, bytes]


@pytest.fixture(scope="module")
def drafts(case: Case) -> Drafts:
    model, cap = AskedOnce(case.refitted), getattr(case.config, "history_cap", 1000)
    exact, files = draft_of(model, case.dataset, case.interactions, history_cap=cap)
    stored, _ = draft_of(model, case.dataset, case.interactions, history_cap=cap, half=True)
    return Drafts(exact, stored, files)


def test_the_reference_scoring_says_what_the_model_says(case: Case, drafts: Drafts) -> None:
    users = np.arange(case.dataset.n_users)
    expected = case.refitted.score_block(users)
    scale = max(1.0, float(np.abs(expected).max()))
    scorer = scorer_for(drafts.exact)
    for user in users:
        found = scorer.score_all(scorer.known_user(int(user)))
        np.testing.assert_allclose(found, expected[user], atol=1e-4 * scale)
        assert_same_top(found, expected[user], k=20, tolerance=1e-4 * scale)


def test_terms_and_amounts_add_up(case: Case, drafts: Drafts) -> None:
    scorer = scorer_for(drafts.stored)
    result = scorer.score(scorer.known_user(1), np.arange(case.dataset.n_items))
    assert result.contributions.shape == (case.dataset.n_items, len(scorer.terms))
    assert result.amounts.shape == (case.dataset.n_items, len(scorer.terms), 3)
    np.testing.assert_allclose(result.amounts.sum(axis=2), result.contributions, atol=1e-9)
    np.testing.assert_allclose(result.contributions.sum(axis=1), result.scores, atol=1e-9)


def test_newcomers_and_nobody_are_scored(case: Case, drafts: Drafts) -> None:
    scorer = scorer_for(drafts.stored)
    for history in ([], [3], [3, 7, 11, 2]):
        assert np.isfinite(scorer.score_all(scorer.encode_user(np.array(history, np.int32)))).all()


def test_the_snapshot_is_published_and_opens(case: Case, drafts: Drafts, tmp_path: Path) -> None:
    draft = measured(drafts.stored, seed=0)
    recall = draft.manifest.candidates.recall["recall@20"]
    assert recall is not None
    assert recall >= 0.99
    identity = publish(tmp_path, draft, case.dataset, drafts.files)
    snapshot = Store(tmp_path).open(identity, verify="hash")
    stored, found = scorer_for(draft), scorer_for(snapshot)
    for user in (0, 17):
        expected = stored.score_all(stored.known_user(user))
        np.testing.assert_allclose(found.score_all(found.known_user(user)), expected, atol=1e-6)


@pytest.mark.parametrize("name", RECIPES)
def test_what_a_model_needs_is_said_before_training(name: str, dataset: Dataset) -> None:
    recipe = RECIPES[name]
    timeless = replace(dataset, interactions=replace(dataset.interactions, timestamp=None))
    uncategorised = replace(dataset, items=replace(dataset.items, categories=[()] * dataset.n_items))
    lacking = {
        "timestamps": (recipe.needs_timestamps, timeless),
        "categories": (recipe.needs_categories, uncategorised),
        "content": (recipe.needs_content, replace(dataset, features={})),
    }
    for what, (needed, poorer) in lacking.items():
        if needed:
            with pytest.raises(MissingRequirement, match=f"{name!r} needs.*{what}"):
                recipe.check(poorer)
        else:
            recipe.check(poorer)
