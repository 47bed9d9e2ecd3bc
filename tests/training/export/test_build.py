"""Drafts of snapshots: what every one holds, precision, popularity, and what is measured on them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model_store.layout import rule_for
from model_store.scoring import scorer_for
from tests.support.drafts import draft_of
from tests.support.tiny_dataset import N_COLD, tiny_dataset
from training.data.dataset import Dataset
from training.data.splits import Split, everything, split_dataset
from training.export.build import popularity
from training.export.measure import measured
from training.export.measure_candidates import SHOWN
from training.fit.run import Run
from training.models.ease import EaseConfig, EaseRecipe
from training.models.protocol import FittedModel


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return tiny_dataset()


@pytest.fixture(scope="module")
def interactions(dataset: Dataset) -> Split:
    return everything(dataset)


@pytest.fixture(scope="module")
def fitted(dataset: Dataset, interactions: Split, tmp_path_factory: pytest.TempPathFactory) -> FittedModel:
    config = EaseConfig(reg=5.0, neighbours=30)
    return EaseRecipe().fit(dataset, interactions, config, Run(tmp_path_factory.mktemp("run")))


def test_a_draft_holds_histories_presence_neighbours_and_features(
    fitted: FittedModel, dataset: Dataset, interactions: Split
) -> None:
    draft, _ = draft_of(fitted, dataset, interactions, half=True)
    indptr, items = interactions.history()
    np.testing.assert_array_equal(draft.array("history_indptr"), indptr)
    np.testing.assert_array_equal(draft.array("history_items"), items)
    np.testing.assert_array_equal(draft.array("item_degree"), interactions.train.toarray().sum(axis=0))
    assert (draft.array("item_degree")[-N_COLD:] == 0).all()
    present = [matrix.present for matrix in dataset.features.values()]
    np.testing.assert_array_equal(draft.array("item_present"), np.stack([np.ones(40, bool), *present], axis=1))
    for name, matrix in dataset.features.items():
        neighbours = draft.array(f"neighbours_{name}_items")
        assert neighbours.shape == (40, 10)
        assert not (neighbours == np.arange(40)[:, None]).any()
        assert (neighbours[~matrix.present] == -1).all()
        lengths = np.linalg.norm(draft.array(f"features_{name}").astype(np.float32), axis=1)
        np.testing.assert_allclose(lengths[matrix.present], 1, atol=1e-2)
        assert not lengths[~matrix.present].any()
        mean = matrix.values[matrix.present].mean(axis=0)
        np.testing.assert_allclose(draft.parameter(f"feature_mean_{name}"), mean, rtol=1e-4, atol=1e-6)


def test_what_the_format_lets_be_half_is_half_and_nothing_else(
    fitted: FittedModel, dataset: Dataset, interactions: Split
) -> None:
    exact, _ = draft_of(fitted, dataset, interactions)
    stored, _ = draft_of(fitted, dataset, interactions, half=True)
    assert exact.arrays.keys() == stored.arrays.keys()
    for name, array in stored.arrays.items():
        rule = rule_for(name, stored.manifest)
        may = rule is not None and "<f2" in rule.dtypes
        assert array.dtype == (np.float16 if may else exact.array(name).dtype), name
        np.testing.assert_allclose(array, exact.array(name), rtol=1e-3, atol=1e-3)
    assert stored.array("item_item_values").dtype == np.float16
    assert stored.array("popularity").dtype == np.float32


def test_how_long_it_took_is_not_in_the_manifest(fitted: FittedModel, dataset: Dataset, interactions: Split) -> None:
    manifest = draft_of(fitted, dataset, interactions)[0].manifest
    assert manifest.item_item["lambda"] == 5.0
    assert "seconds" not in manifest.item_item


def test_popularity_counts_and_recent_interactions_count_more() -> None:
    dataset = tiny_dataset()
    timeless = replace(dataset, interactions=replace(dataset.interactions, timestamp=None))
    counts = np.bincount(dataset.interactions.item_row, minlength=40)
    np.testing.assert_array_equal(popularity(timeless, everything(timeless)), counts)
    # half of the weight is gone after a quarter of the span: the four ages 0, 1/4, 1/2 and 1 weigh 1, 1/2, 1/4, 1/16
    rows = np.array([7, 7, 3, 3], np.int32)
    ages = np.array([0, 100, 50, 25])
    few = replace(dataset.interactions, user_row=np.arange(4, dtype=np.int32), item_row=rows, timestamp=1e9 - ages)
    found = popularity(replace(dataset, interactions=few), everything(replace(dataset, interactions=few)))
    assert found[7] == pytest.approx(1 + 1 / 16)
    assert found[3] == pytest.approx(1 / 4 + 1 / 2)
    assert found.sum() == pytest.approx(found[7] + found[3])


def test_popularity_of_what_is_to_be_evaluated_knows_nothing_of_the_test() -> None:
    dataset = replace(tiny_dataset(), interactions=replace(tiny_dataset().interactions, timestamp=None))
    split = split_dataset(dataset, "random", seed=0)
    assert split.test.nnz
    counts = np.bincount(split.train.indices, minlength=dataset.n_items)
    np.testing.assert_array_equal(popularity(dataset, split), counts)


def test_measured_depth_finds_what_an_exact_scan_finds(
    fitted: FittedModel, dataset: Dataset, interactions: Split, tmp_path: Path
) -> None:
    draft = measured(draft_of(fitted, dataset, interactions, half=True)[0], seed=0)
    candidates = draft.manifest.candidates
    assert 1 <= candidates.depth <= dataset.n_items
    assert candidates.recall["recall@20"] == 1
    assert draft.manifest.routed_variance_share is None  # nothing is routed
    assert draft.manifest.routing["share_of_score"] == {"item-item": 1.0}
    scorer = scorer_for(draft)
    state = scorer.known_user(0)
    unseen = np.setdiff1d(np.arange(dataset.n_items), draft.history(0))
    best = unseen[np.argsort(-scorer.score_all(state)[unseen], kind="stable")[:SHOWN]]
    assert len(best) == SHOWN
