"""The extras of a fair comparison: members side by side and item-item evidence, for every model of vectors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_store.manifest import Term
from training.data.dataset import Dataset
from training.data.splits import Split, everything
from training.evaluation.protocol import evaluate
from training.fit.run import Run
from training.models.egra import EgraRecipe
from training.models.embedding.fitted import FittedVectors
from training.models.embedding.network import ServedTerm, Tables, side_by_side
from training.models.embedding.phase import TriplesPhase
from training.models.embedding.recipe import EmbeddingRecipe
from training.models.light_gcn import LightGcnRecipe
from training.models.mamex import MamexRecipe

QUICK: dict[str, Any] = {"embedding_size": 4, "batch_size": 128, "learning_rate": 2e-2, "max_epochs": 2}
EVIDENCE: dict[str, Any] = {"item_item": {"enabled": True}}


def fit(recipe: EmbeddingRecipe, dataset: Dataset, split: Split, run: Run, **settings: Any) -> FittedVectors:
    fitted = recipe.fit(dataset, split, recipe.config_type.model_validate(QUICK | settings), run)
    assert isinstance(fitted, FittedVectors)
    return fitted


def test_side_by_side_is_the_mean_of_the_members_term_by_term() -> None:
    rng = np.random.default_rng(0)

    def member() -> Tables:
        terms = tuple(
            ServedTerm(
                Term(name=name, role="modality", modalities={name: 1.0}),
                rng.normal(size=(5, 2)).astype(np.float32),
                (rng.random(5) * (rng.random(5) > 0.4)).astype(np.float32),
            )
            for name in ("visual", "textual")
        )
        items = np.sum([term.gate[:, None] * term.vectors for term in terms], axis=0)
        users = rng.normal(size=(3, 2)).astype(np.float32)
        return Tables(users, items, {"visual": items / 3}, terms, (1.0, 0.5))

    members = [member(), member(), member()]
    joined = side_by_side(members)
    scores = np.mean([one.users @ one.items.T for one in members], axis=0)
    np.testing.assert_allclose(joined.users @ joined.items.T, scores, atol=1e-5)
    np.testing.assert_allclose(joined.users @ joined.parts["visual"].T, scores / 3, atol=1e-5)
    for place, term in enumerate(joined.terms):
        expected = np.mean(
            [one.users @ (one.terms[place].gate[:, None] * one.terms[place].vectors).T for one in members], axis=0
        )
        np.testing.assert_allclose(joined.users @ (term.gate[:, None] * term.vectors).T, expected, atol=1e-5)
        np.testing.assert_allclose(term.gate, np.mean([one.terms[place].gate for one in members], axis=0), atol=1e-6)
    assert joined.decays == (1.0, 0.5)


def test_members_are_fitted_from_different_seeds_and_the_first_is_the_single_model(
    dataset: Dataset, split: Split, tmp_path: Path
) -> None:
    one = fit(LightGcnRecipe(), dataset, split, Run(tmp_path / "one", seed=4))
    two = fit(LightGcnRecipe(), dataset, split, Run(tmp_path / "two", seed=4), members=2)
    first, second = np.split(two.tables.items * np.float32(2**0.5), 2, axis=1)
    np.testing.assert_allclose(first, one.tables.items, rtol=1e-6)
    assert not np.allclose(second, one.tables.items, rtol=0.1)
    assert sorted(two.chosen.epochs) == ["lightgcn", "lightgcn-1"]
    assert two.training_facts()["epochs"] == 2 * one.training_facts()["epochs"]


@pytest.mark.parametrize("recipe", [LightGcnRecipe(), MamexRecipe(), EgraRecipe()], ids=lambda recipe: recipe.name)
def test_a_finished_run_takes_evidence_without_being_trained_again(
    recipe: EmbeddingRecipe, dataset: Dataset, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = {"pretrained_epochs": 1} if recipe.name == "egra" else {}
    plain = fit(recipe, dataset, split, Run(tmp_path, seed=4), **more)
    monkeypatch.setattr(TriplesPhase, "losses", lambda *_: pytest.fail("it is trained again"))
    blended = fit(recipe, dataset, split, Run(tmp_path, seed=4, resume=True), **more, **EVIDENCE)
    np.testing.assert_array_equal(blended.tables.items, plain.tables.items)
    assert blended.item_item is not None
    assert blended.training_facts()["item_item"]["weight"] > 0
    users = np.arange(dataset.n_users)
    term = (split.train @ blended.item_item.matrix()).toarray()
    np.testing.assert_allclose(blended.score_block(users), plain.score_block(users) + term, atol=1e-5)
    qualities = [evaluate(model.score_block, split, "valid").means() for model in (blended, plain)]
    sums = [quality["recall@20"] + quality["ndcg@20"] for quality in qualities]
    assert sums[0] > sums[1]


def test_the_refit_keeps_the_chosen_weight_and_solves_again(dataset: Dataset, split: Split, tmp_path: Path) -> None:
    run, recipe = Run(tmp_path, seed=4), LightGcnRecipe()
    fitted = fit(recipe, dataset, split, run, **EVIDENCE)
    again = recipe.refit(fitted, dataset, everything(dataset), recipe.config_type.model_validate(QUICK | EVIDENCE), run)
    assert isinstance(again, FittedVectors)
    assert again.item_item is not None
    assert fitted.item_item is not None
    for fact in ("weight", "lambda", "c", "cold_scale"):
        assert again.item_item.facts[fact] == fitted.item_item.facts[fact]
    assert again.item_item.values.shape != fitted.item_item.values.shape or not np.array_equal(
        again.item_item.values, fitted.item_item.values
    )


def test_evidence_that_only_hurts_stays_out(
    dataset: Dataset, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.models.embedding.beside.choose_blend", lambda *_: 0.0)
    fitted = fit(LightGcnRecipe(), dataset, split, Run(tmp_path), **EVIDENCE)
    assert fitted.item_item is None
    assert fitted.chosen.blend is None
    assert [term.name for term in fitted.snapshot_content().terms] == ["collaborative"]
    refitted = LightGcnRecipe().refit(
        fitted, dataset, everything(dataset), LightGcnRecipe.config_type.model_validate(QUICK | EVIDENCE), Run(tmp_path)
    )
    assert isinstance(refitted, FittedVectors)
    assert refitted.item_item is None


def test_evidence_reads_the_last_of_long_histories_as_the_snapshot_does(
    dataset: Dataset, split: Split, tmp_path: Path
) -> None:
    short = fit(LightGcnRecipe(), dataset, split, Run(tmp_path), history_cap=2, **EVIDENCE)
    assert short.item_item is not None
    indptr, history = split.history()
    user = int(np.argmax(np.diff(indptr)))
    own = short.tables.users[user] @ short.tables.items.T
    last = history[indptr[user + 1] - 2 : indptr[user + 1]]
    expected = own + short.item_item.matrix().toarray()[last].sum(axis=0)
    np.testing.assert_allclose(short.score_block(np.array([user]))[0], expected, atol=1e-5)
