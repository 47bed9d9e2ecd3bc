"""Every model of vectors: what it exports scores as it does, folds people in, and is the same run after run.

Enrolled from the registry, so that a new one cannot be forgotten.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model_store.draft import SnapshotDraft
from model_store.manifest import Training
from model_store.scoring import scorer_for
from tests.support.tiny_dataset import N_COLD, tiny_dataset
from training.data.dataset import Dataset
from training.data.splits import Split, everything, split_dataset
from training.evaluation.protocol import evaluate
from training.export.build import build_draft
from training.fit.loop import Outcome, run_phase
from training.fit.run import Run
from training.models.embedding import recipe as recipe_module
from training.models.embedding.fitted import FittedVectors
from training.models.embedding.recipe import EmbeddingRecipe
from training.models.registry import RECIPES

NAMES = [name for name, recipe in RECIPES.items() if isinstance(recipe, EmbeddingRecipe)]
QUICK: dict[str, Any] = {
    "embedding_size": 8,
    "batch_size": 128,
    "learning_rate": 2e-2,
    "max_epochs": 12,
    "patience": 50,
}
MORE: dict[str, dict[str, Any]] = {
    "egra": {"pretrained_epochs": 3},
    "cammsr": {"batch_size": 16, "layers": 1, "heads": 1, "history_cap": 8},
}


def config_of(name: str, **changed: Any) -> Any:
    return RECIPES[name].config_type.model_validate(QUICK | MORE.get(name, {}) | changed)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=NAMES)
def fitted(
    request: pytest.FixtureRequest, dataset: Dataset, split: Split, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, FittedVectors]:
    run = Run(tmp_path_factory.mktemp(request.param))
    model = RECIPES[request.param].fit(dataset, split, config_of(request.param), run)
    assert isinstance(model, FittedVectors)
    return request.param, model


@pytest.fixture(scope="module")
def draft(fitted: tuple[str, FittedVectors], dataset: Dataset, split: Split) -> SnapshotDraft:
    name, model = fitted
    return build_draft(name, model, dataset, split, history_cap=50, metrics={}, training=Training(seed=0))[0]


def scores(draft: SnapshotDraft, n_users: int, *, known: bool) -> np.ndarray:
    scorer = scorer_for(draft)
    states = (scorer.known_user(u) if known else scorer.encode_user(draft.history(u)) for u in range(n_users))
    return np.stack([scorer.score_all(state) for state in states])


def test_it_learns(fitted: tuple[str, FittedVectors], dataset: Dataset, split: Split, tmp_path: Path) -> None:
    popular = RECIPES["popularity"]
    floor = popular.fit(dataset, split, popular.config_type(), Run(tmp_path))
    recalls = [evaluate(model.score_block, split, "valid").means()["recall@10"] for model in (fitted[1], floor)]
    assert recalls[0] > 1.1 * recalls[1]


def test_the_snapshot_scores_as_the_model(
    fitted: tuple[str, FittedVectors], draft: SnapshotDraft, dataset: Dataset
) -> None:
    exact = fitted[1].score_block(np.arange(dataset.n_users))
    np.testing.assert_allclose(scores(draft, dataset.n_users, known=True), exact, atol=3e-3 * np.abs(exact).max())


def test_people_are_folded_in_near_where_they_were_trained(
    fitted: tuple[str, FittedVectors], draft: SnapshotDraft, dataset: Dataset, split: Split
) -> None:
    folded = scores(draft, dataset.n_users, known=False)
    trained = fitted[1].score_block(np.arange(dataset.n_users))
    recalls = [
        evaluate(lambda rows, s=s: s[rows], split, "valid").means()["recall@10"]  # type: ignore[misc]
        for s in (folded, trained)
    ]
    assert recalls[0] > 0.75 * recalls[1]


def test_terms_and_modalities_add_up(fitted: tuple[str, FittedVectors], draft: SnapshotDraft, dataset: Dataset) -> None:
    scorer = scorer_for(draft)
    found = scorer.score(scorer.known_user(3), np.arange(dataset.n_items))
    np.testing.assert_allclose(found.amounts.sum(axis=2), found.contributions, rtol=1e-9, atol=1e-12)
    routed = [term.role != "base" for term in scorer.terms]
    if any(routed):
        np.testing.assert_allclose(found.weights[:, routed].sum(axis=1), 1, atol=5e-3)
    for term in scorer.terms:
        assert sum(share or 0.0 for share in term.modalities.values()) == pytest.approx(1, abs=1e-4)


def test_content_models_give_content_its_part(
    fitted: tuple[str, FittedVectors], draft: SnapshotDraft, dataset: Dataset
) -> None:
    scorer = scorer_for(draft)
    amounts = scorer.score(scorer.known_user(0), np.arange(dataset.n_items)).amounts.sum(axis=1)
    assert (np.abs(amounts[:, 1:]).sum() > 0) == RECIPES[fitted[0]].needs_content


def test_the_same_seed_is_the_same_model_bit_by_bit(
    fitted: tuple[str, FittedVectors], dataset: Dataset, split: Split, tmp_path: Path
) -> None:
    name, _ = fitted
    short = config_of(name, max_epochs=1)
    first, again = (RECIPES[name].fit(dataset, split, short, Run(tmp_path / part)) for part in "ab")
    assert isinstance(first, FittedVectors)
    assert isinstance(again, FittedVectors)
    np.testing.assert_array_equal(first.tables.items, again.tables.items)
    np.testing.assert_array_equal(first.tables.users, again.tables.users)
    other = RECIPES[name].fit(dataset, split, short, Run(tmp_path / "c", seed=9))
    assert isinstance(other, FittedVectors)
    assert not np.array_equal(first.tables.items, other.tables.items)


def test_a_refit_runs_as_many_epochs_on_everything(
    fitted: tuple[str, FittedVectors], dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Epochs of what a model passes over: of users, where it learns from sequences, there are no more than before."""
    name, model = fitted
    whole, epochs = everything(dataset), {}

    def counted(phase: Any, run: Run, *, max_steps: int, **options: Any) -> Outcome:
        epochs[phase.name.removeprefix("refit-")] = max_steps / phase.steps_per_epoch
        return run_phase(phase, run, max_steps=max_steps, **options)

    monkeypatch.setattr(recipe_module, "run_phase", counted)
    again = RECIPES[name].refit(model, dataset, whole, config_of(name), Run(tmp_path))
    assert epochs == pytest.approx(model.chosen.epochs)
    assert isinstance(again, FittedVectors)
    assert again.chosen == model.chosen
    assert again.training_facts() == model.training_facts()
    assert again.tables.users.shape == model.tables.users.shape
    assert not np.array_equal(again.tables.users, model.tables.users)


@pytest.mark.parametrize("name", NAMES)
def test_mixed_precision(name: str, dataset: Dataset, split: Split, tmp_path: Path) -> None:
    model = RECIPES[name].fit(dataset, split, config_of(name, max_epochs=1), Run(tmp_path, amp=True))
    assert np.isfinite(model.score_block(np.arange(dataset.n_users))).all()


@pytest.mark.parametrize("modalities", [("acoustic",), ("visual", "textual", "acoustic")])
@pytest.mark.parametrize("name", [name for name in NAMES if RECIPES[name].needs_content])
def test_any_modalities_and_cold_items(name: str, modalities: tuple[str, ...], tmp_path: Path) -> None:
    other = tiny_dataset(modalities)
    parts = split_dataset(other, "cold-items", seed=0)
    model = RECIPES[name].fit(other, parts, config_of(name, max_epochs=1), Run(tmp_path))
    found = model.score_block(np.arange(other.n_users))
    assert np.isfinite(found).all()
    cold = found[:, other.n_items - N_COLD :]
    assert cold.std() > 0
    model.snapshot_content()
