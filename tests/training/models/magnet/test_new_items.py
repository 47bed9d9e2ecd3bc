"""Items that nobody has taken, against their definition: the regression by hand, and what is chosen on whom.

Axes: `I` items, `M` modalities, `D` width, `n` new items.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse

from model_store.scoring import scorer_for
from tests.support.drafts import draft_of
from tests.support.tiny_dataset import tiny_dataset
from tests.support.tiny_magnet import quick_config
from training.data.splits import Split, everything, split_dataset
from training.evaluation.metrics import recall_at
from training.evaluation.protocol import evaluate
from training.evaluation.ranking import rank_positives
from training.fit.run import Run
from training.models.closed_form import ClosedFormSettings, fit_closed_form
from training.models.magnet import new_items
from training.models.magnet.config import MagnetConfig
from training.models.magnet.fitted import FittedMagnet
from training.models.magnet.frozen import FrozenBase, NewItemForm
from training.models.magnet.masked import Masking
from training.models.magnet.material import content_graphs
from training.models.magnet.new_items import (
    EXPOSURES,
    LENGTHS,
    Content,
    FormSettings,
    Regression,
    as_if_new,
    choose_exposure,
    choose_form,
    content_of,
    fit_form,
    parts_of_new,
    stand_ins,
    with_new_items,
)
from training.models.magnet.node_features import OF_DEGREE
from training.models.magnet.recipe import MagnetRecipe
from training.models.magnet.scored import Evidence, gather_evidence

F64 = NDArray[np.float64]
I, D = 40, 6  # noqa: E741
WIDTHS = {"visual": 3, "textual": 5}
COLD = np.arange(34, 40)
COST = MagnetConfig().cold_cost


def content(seed: int = 0) -> Content:
    rng = np.random.default_rng(seed)
    features = {name: rng.normal(size=(I, width)).astype(np.float32) for name, width in WIDTHS.items()}
    graph = np.triu(rng.random((I, I)) * (rng.random((I, I)) < 0.2), 1)
    warm = np.ones(I, bool)
    warm[COLD] = False
    return Content(features, sparse.csr_array((graph + graph.T).astype(np.float32)), warm)


def base(members: int, seed: int = 1) -> FrozenBase:
    rng = np.random.default_rng(seed)
    parts = rng.normal(size=(I, 3, members * D)).astype(np.float32)
    for member in range(members):
        block = slice(member * D, (member + 1) * D)
        parts[:, :, block] /= np.linalg.norm(parts[:, :, block].sum(axis=1), axis=1)[:, None, None] * members**0.5
    nothing = {name: np.zeros((width, members * D), np.float32) for name, width in WIDTHS.items()}
    form = NewItemForm(nothing, nothing, np.ones((2, members * D), np.float32), np.zeros(members * D, np.float32))
    return FrozenBase(parts, rng.normal(size=(I, members * D)).astype(np.float32), members, form)


def by_hand(given: FrozenBase, known: Content, settings: FormSettings, member: int, item: int) -> F64:
    """(M, D) of one member: least squares with the penalty as further rows, neighbours one by one."""
    block = slice(member * D, (member + 1) * D)
    parts = given.parts[:, :, block].astype(np.float64) * given.members**0.5
    vectors = parts.sum(axis=1)
    warm = np.flatnonzero(known.warm)
    near = known.graph.toarray().astype(np.float64) * known.warm
    near /= np.maximum(near.sum(axis=1, keepdims=True), 1e-12)
    together = np.concatenate(list(known.features.values()), axis=1)
    count = together.shape[1]
    left = np.concatenate(
        [np.c_[together[warm], np.ones(len(warm))], np.c_[np.eye(count), np.zeros(count)] * settings.ridge**0.5]
    )
    right = np.concatenate([vectors[warm] - settings.share * near[warm] @ vectors, np.zeros((count, D))])
    solved = np.linalg.lstsq(left, right, rcond=None)[0]
    found = settings.share * np.einsum("j,jmd->md", near[item], parts)
    found[0] += solved[-1]
    found[1] += known.features["visual"][item] @ solved[:3]
    found[2] += known.features["textual"][item] @ solved[3:8]
    scaled: F64 = found / np.linalg.norm(found.sum(axis=0)) / given.members**0.5
    return scaled


@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("settings", [FormSettings(3.0, 0.5), FormSettings(30.0, 0.0)], ids=str)
def test_parts_of_a_new_item_by_hand(members: int, settings: FormSettings) -> None:
    given, known = base(members), content()
    shown = with_new_items(given, fit_form(given, known, settings), known)
    for item in COLD:
        expected = np.concatenate([by_hand(given, known, settings, m, int(item)) for m in range(members)], axis=1)
        np.testing.assert_allclose(shown.parts[item], expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(shown.parts[known.warm], given.parts[known.warm])
    np.testing.assert_allclose(np.linalg.norm(shown.candidates, axis=1), 1, rtol=1e-5)


def test_what_content_says_of_others_it_says_of_a_new_item() -> None:
    """Where vectors are linear in content, those of items that were never fitted come out right."""
    known = content()
    together = np.concatenate(list(known.features.values()), axis=1)
    vectors = together @ np.random.default_rng(5).normal(size=(8, D)) + 0.7
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    given = base(1)
    parts = given.parts.copy()
    parts[:, 0] += vectors - given.candidates
    linear = replace(given, parts=parts)
    form = fit_form(linear, known, FormSettings(1e-3, 0.0))
    found = parts_of_new(linear, form, known, COLD).sum(axis=1)
    assert (found * vectors[COLD]).sum(axis=1).mean() > 0.9
    shuffled = replace(known, features={name: rows[::-1].copy() for name, rows in known.features.items()})
    assert (parts_of_new(linear, form, shuffled, COLD).sum(axis=1) * vectors[COLD]).sum(axis=1).mean() < 0.7


def test_masking_takes_a_modality_out_of_new_items_alone() -> None:
    given, known = base(1), content()
    form = fit_form(given, known, FormSettings(3.0, 0.5))
    shown = with_new_items(replace(given, again=lambda _: given), form, known)
    assert shown.again is not None
    masked = shown.again(Masking(COLD[:2], "visual", None))
    np.testing.assert_array_equal(masked.parts[2:-6], shown.parts[2:-6])
    np.testing.assert_array_equal(masked.parts[COLD[2:]], shown.parts[COLD[2:]])
    without = parts_of_new(
        given, replace(form, projections={**form.projections, "visual": np.zeros((3, D), np.float32)}), known, COLD[:2]
    )
    np.testing.assert_allclose(masked.parts[COLD[:2]], without, atol=1e-6)


def split_of(valid: NDArray[np.float32], train: NDArray[np.float32]) -> Split:
    def matrix(values: NDArray[np.float32]) -> sparse.csr_array:
        return sparse.csr_array(values)

    none = np.zeros(train.shape[1], bool)
    return Split(matrix(train), matrix(valid), matrix(valid), None, none, "random", 0, 0)


def test_choices_are_made_on_real_new_items_where_validation_has_enough() -> None:
    rng = np.random.default_rng(0)
    train = (rng.random((60, I)) < 0.3).astype(np.float32)
    train[:, COLD] = 0
    valid = np.zeros_like(train)
    valid[:, COLD[:2]] = 1  # 120 positives
    np.testing.assert_array_equal(np.flatnonzero(stand_ins(split_of(valid, train), 0)), COLD)
    valid[:, COLD[1]] = 0  # 60
    others = np.flatnonzero(stand_ins(split_of(valid, train), 0))
    assert 0 < len(others) < 20
    assert not np.isin(others, COLD).any()


def test_the_form_that_ranks_new_items_best_is_chosen() -> None:
    """Users like what their vectors point at: with content that says it, little shrinking; with noise, neighbours."""
    rng = np.random.default_rng(3)
    known, given = content(), base(1)
    train = np.ones((80, I), np.float32)
    train[:, COLD] = 0
    near = (known.neighbours @ given.candidates)[COLD]
    users = rng.normal(size=(80, D)).astype(np.float32)
    valid = np.zeros_like(train)
    best = np.argsort(-(users @ near.T), axis=1)[:, :2]
    np.put_along_axis(valid, COLD[best], 1, axis=1)
    chosen = choose_form(given, known, users, split_of(valid, train), 0)
    assert chosen.share == 1.0  # neighbours alone decide what is liked


def test_stand_ins_for_new_items_teach_nothing_while_the_form_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    known, given = content(), base(1)
    valid, train = ((rng.random((80, I)) < share).astype(np.float32) * known.warm for share in (0.1, 0.3))
    split = split_of(valid, train)
    standing_in, taught_by = stand_ins(split, 0), []

    class Noted(Regression):
        def __init__(self, base: FrozenBase, content: Content) -> None:
            taught_by.append(content.warm)
            super().__init__(base, content)

    monkeypatch.setattr(new_items, "Regression", Noted)
    choose_form(given, known, rng.normal(size=(80, D)).astype(np.float32), split, 0)
    assert known.warm[standing_in].all()
    (warm,) = taught_by
    np.testing.assert_array_equal(warm, known.warm & ~standing_in)


Cold = tuple[FittedMagnet, Split, Content]
COLD_DATA = tiny_dataset(n_users=120, n_items=150)


@pytest.fixture(scope="module")
def cold(tmp_path_factory: pytest.TempPathFactory) -> Cold:
    """A fit without item-item evidence on a split with new items, and what content says of them."""
    config, split = quick_config(item_item={"enabled": False}), split_dataset(COLD_DATA, "cold-items", seed=0)
    fitted = MagnetRecipe().fit(COLD_DATA, split, config, Run(tmp_path_factory.mktemp("cold"), seed=0))
    assert isinstance(fitted, FittedMagnet)
    known = content_of(COLD_DATA.features, content_graphs(COLD_DATA, config), split.train)
    assert known is not None
    return fitted, split, known


def changed(fitted: FittedMagnet, evidence: Evidence) -> FittedMagnet:
    about = fitted.training_facts()
    return FittedMagnet(
        evidence, fitted.mixture, fitted.modalities, fitted.chosen, fitted.config, about, fitted._features
    )


def test_new_items_are_shown_as_far_as_the_others_can_afford(cold: Cold) -> None:
    fitted, split, known = cold
    warm = known.warm
    rows = np.flatnonzero(np.diff(split.valid.indptr)).astype(np.int64)
    positives = sparse.csr_array(split.valid[rows] * warm.astype(np.float32)[None, :])
    positives.eliminate_zeros()
    has = np.flatnonzero(np.diff(positives.indptr)).astype(np.int64)

    def recall(length: float, *, hidden: bool = False) -> float:
        form = replace(fitted.chosen.form, length=length)
        scores = changed(fitted, as_if_new(fitted.evidence, known, form, ~warm)).score_block(rows)
        scores[:, ~warm] = -np.inf if hidden else scores[:, ~warm]
        ranks = rank_positives(lambda block: scores[block], positives[has], split.train[rows], has)
        return float(recall_at(20, ranks, positives[has].indptr).mean())

    chosen = fitted.chosen.form.length
    assert 0 < chosen < 1  # without item-item evidence there is too much of them at full length
    least = (1 - COST) * recall(1.0, hidden=True)
    assert recall(chosen) >= least > recall(LENGTHS[LENGTHS.index(chosen) - 1])


def with_item_item(cold: Cold) -> tuple[FittedMagnet, Evidence]:
    """The model with an item-item term that matters, as it would be where histories are many."""
    fitted, split, _ = cold
    term = fit_closed_form(split.train, {}, ClosedFormSettings(20.0, 0.0, {}), per_row=60)
    weight, evidence = 5.0, fitted.evidence
    return fitted, gather_evidence(
        evidence.base,
        evidence.interactions,
        evidence.present,
        term,
        weight,
        fitted.modalities,
        degree=evidence.degree,
        routed=True,
    )


def test_as_if_new_forgets_all_that_was_known_of_the_items(cold: Cold) -> None:
    fitted, evidence = with_item_item(cold)
    known = cold[2]
    new = known.warm & (np.arange(len(known.warm)) % 5 == 0)
    shown = as_if_new(evidence, known, fitted.chosen.form, new)
    parts = evidence.base.parts.copy()
    parts[new] = np.random.default_rng(0).normal(size=parts[new].shape)
    otherwise = as_if_new(replace(evidence, base=replace(evidence.base, parts=parts)), known, fitted.chosen.form, new)
    np.testing.assert_array_equal(shown.base.parts, otherwise.base.parts)
    assert not shown.degree[new].any()
    np.testing.assert_array_equal(shown.degree[~new], evidence.degree[~new])
    before, after = (
        np.sum([share.toarray() for share in one.item_item_shares.values()], axis=0) for one in (evidence, shown)
    )
    assert np.abs(before[:, new]).max() > 0
    assert not after[:, new].any()
    np.testing.assert_array_equal(after[:, ~new], before[:, ~new])
    assert not shown.item_features[new, :OF_DEGREE].any()
    np.testing.assert_array_equal(shown.item_features[~new], evidence.item_features[~new])
    np.testing.assert_array_equal(shown.users, evidence.users)


def test_exposure_is_the_best_that_items_with_interactions_can_afford(cold: Cold) -> None:
    fitted, evidence = with_item_item(cold)
    _, split, known = cold
    full = replace(fitted.chosen.form, length=1.0)
    form, chosen = choose_exposure(evidence, fitted.mixture, known, full, split, COST, 0)
    shown = as_if_new(evidence, known, form, ~known.warm)
    assert chosen in EXPOSURES[1:-1]  # something to choose, and a limit to it
    found = {}
    for exposure in (0.0, chosen, EXPOSURES[EXPOSURES.index(chosen) + 1], EXPOSURES[-1]):
        scores = changed(fitted, replace(shown, exposure=exposure)).score_block
        result = evaluate(scores, split, "valid")
        found[exposure] = {name: group.values["recall@20"].mean() for name, group in result.strata.items()}
    hidden = np.where(known.warm, changed(fitted, shown).score_block(np.arange(split.train.shape[0])), -np.inf)
    alone = evaluate(lambda rows: hidden[rows], split, "valid").strata["warm"].values["recall@20"].mean()
    # here means are over the users with such a positive, there sums: the same share
    assert found[chosen]["warm"] >= (1 - COST) * alone > found[EXPOSURES[-1]]["warm"]
    assert found[chosen]["cold"] > found[0.0]["cold"]
    _, dearer = choose_exposure(evidence, fitted.mixture, known, full, split, 1.0, 0)
    assert dearer > chosen  # who is ready to pay more shows more of them


def test_new_items_score_in_the_snapshot_as_in_the_trainer(cold: Cold) -> None:
    fitted, evidence = with_item_item(cold)
    _, split, known = cold
    shown, hidden = (changed(fitted, replace(evidence, exposure=exposure)) for exposure in (0.9, 0.0))
    users = np.arange(0, split.train.shape[0], 9)
    expected = shown.score_block(users)
    moved = np.abs(expected - hidden.score_block(users))
    assert moved[:, ~known.warm].max() > 1e-2
    assert not moved[:, known.warm].any()
    draft, _ = draft_of(shown, COLD_DATA, split, history_cap=fitted.config.history_cap)
    assert draft.manifest.item_item["cold_exposure"] == 0.9
    scorer = scorer_for(draft)
    for user, row in zip(users, expected, strict=True):
        np.testing.assert_allclose(scorer.score_all(scorer.known_user(int(user))), row, atol=5e-4)


def test_a_given_exposure_and_the_form_are_kept_by_the_refit(tmp_path: Path) -> None:
    dataset, run = tiny_dataset(n_users=60, n_items=80), Run(tmp_path, seed=0)
    split, config = split_dataset(dataset, "cold-items", seed=0), quick_config(cold_exposure=0.3)
    fitted = MagnetRecipe().fit(dataset, split, config, run)
    interactions = everything(dataset)
    refitted = MagnetRecipe().refit(fitted, dataset, interactions, config, run)
    assert isinstance(fitted, FittedMagnet)
    assert isinstance(refitted, FittedMagnet)
    assert fitted.training_facts()["new_items"]["cold_exposure"] == 0.3
    for model, part in ((fitted, split), (refitted, interactions)):
        assert model.evidence.exposure == 0.3
        known = content_of(dataset.features, content_graphs(dataset, config), part.train)
        assert known is not None
        shown, new = model.evidence.base, np.flatnonzero(~known.warm)
        assert len(new)
        expected = parts_of_new(shown, fit_form(shown, known, fitted.chosen.form), known, new)
        np.testing.assert_allclose(shown.parts[new], expected, atol=1e-5)
