"""The recipe's stages on tiny data: what the mixture is fitted and chosen on, options, resume.

Axes: `U` users, `I` items.
"""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse

from tests.support.tiny_dataset import N_COLD, tiny_dataset
from tests.support.tiny_magnet import Fit, fit_magnet, plain_sum, quick_config
from training.data.dataset import Dataset
from training.data.interactions import Interactions
from training.data.splits import Split, everything, split_dataset
from training.fit.run import Run
from training.models.blend import item_item
from training.models.magnet import recipe
from training.models.magnet.base_phase import BasePhase
from training.models.magnet.candidates import CandidateTable, candidate_table
from training.models.magnet.fitted import FittedMagnet
from training.models.magnet.frozen import FrozenBase, aligned, freeze
from training.models.magnet.material import content_graphs
from training.models.magnet.recipe import MagnetRecipe, best_departure, mean_quality
from training.models.magnet.router_phase import RouterPhase
from training.models.magnet.scored import Evidence, MagnetScorer, Mixture
from training.models.magnet.table_scores import TableScores


def dense(matrix: sparse.csr_array) -> Any:
    return matrix.toarray()


@pytest.mark.parametrize(
    "changed",
    [
        {"graph": {"edges": "pseudo"}, "item_item": {"enabled": False}},
        {"graph": {"rho": 0.0}, "base": {"id_dropout": 0.0, "view_alignment": 0.0}, "router": {"top_k": 1}},
    ],
    ids=["pseudo edges, no item-item", "one view, one expert per pair"],
)
def test_options_fit_and_say_what_they_are(changed: dict[str, Any], tmp_path: Path) -> None:
    fit = fit_magnet(tiny_dataset(), tmp_path, **changed)
    for model in (fit.fitted, fit.refitted):
        assert np.isfinite(model.score_block(np.arange(fit.dataset.n_users))).all()
    roles = [term.role for term in fit.refitted.terms()]
    beside = fit.config.item_item.enabled and fit.refitted.chosen.blend > 0 and not fit.refitted.evidence.routed
    assert ("base" in roles) == beside
    assert fit.fitted.mixture.router.top_k == (fit.config.router.top_k or 3)


def of_few_positives() -> tuple[Dataset, Split]:
    """Everybody took three things: one is left to train on, so none can be held out."""
    dataset = tiny_dataset()
    given = dataset.interactions
    place = np.arange(len(given)) - np.searchsorted(given.user_row, given.user_row)
    few = np.flatnonzero(place < 3)
    assert given.timestamp is not None
    thinned = Interactions(given.user_row[few], given.item_row[few], timestamp=given.timestamp[few])
    dataset = replace(dataset, interactions=thinned)
    return dataset, split_dataset(dataset, "leave-last", seed=0)


def of_new_items_to_judge_by() -> tuple[Dataset, Split]:
    """Validation asks for items alone that nobody took in training."""
    dataset = tiny_dataset()
    split = split_dataset(dataset, "random", seed=0)
    valid = np.zeros(split.valid.shape, np.float32)
    valid[:20, -N_COLD:] = 1
    return dataset, replace(split, valid=sparse.csr_array(valid))


@pytest.mark.parametrize("made", [of_few_positives, of_new_items_to_judge_by], ids=lambda made: made.__name__)
def test_where_routing_cannot_be_learned_or_judged_the_plain_sum_is_served(
    made: Callable[[], tuple[Dataset, Split]], tmp_path: Path
) -> None:
    dataset, split = made()
    run, config = Run(tmp_path, seed=3), quick_config(cold_exposure=0.0)
    fitted = MagnetRecipe().fit(dataset, split, config, run)
    assert isinstance(fitted, FittedMagnet)
    facts = fitted.training_facts()
    assert "router" not in facts["phases"]
    assert "NaN" not in json.dumps(facts)
    assert "Infinity" not in json.dumps(facts)
    rows = np.arange(dataset.n_users)
    np.testing.assert_allclose(fitted.score_block(rows), plain_sum(fitted.evidence, rows), atol=2e-5)
    refitted = MagnetRecipe().refit(fitted, dataset, everything(dataset), config, run)
    assert np.isfinite(refitted.score_block(rows)).all()


def test_mixed_precision_is_for_the_base_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reduced: dict[type[BasePhase] | type[RouterPhase], set[bool]] = {BasePhase: set(), RouterPhase: set()}
    for kind, found in reduced.items():

        def noted(self: Any, step: int, rng: Any, found: Any = found, original: Any = kind.losses) -> Any:
            found.add(torch.is_autocast_enabled("cpu"))
            return original(self, step, rng)

        monkeypatch.setattr(kind, "losses", noted)
    dataset = tiny_dataset(["visual"])
    split, config = split_dataset(dataset, "random", seed=0), quick_config()
    fitted = MagnetRecipe().fit(dataset, split, config, Run(tmp_path, amp=True))
    assert np.isfinite(fitted.score_block(np.arange(dataset.n_users))).all()
    assert reduced == {BasePhase: {True}, RouterPhase: {False}}


def test_a_single_modality_has_one_expert_and_no_router(fit_of: Any) -> None:
    fit = fit_of(1, 1)
    assert isinstance(fit.fitted, FittedMagnet)
    facts = fit.fitted.training_facts()
    assert "router" not in facts["phases"]
    assert facts["stage_switch_epoch"] is None
    assert [role.name for role in fit.fitted.mixture.experts.roles] == ["dominant-behaviour"]


def test_the_served_model_has_seen_everything_and_the_measured_one_has_not(three: Fit) -> None:
    seen = three.interactions.train.nnz
    assert three.fitted.evidence.interactions.nnz == three.split.train.nnz < seen
    assert three.refitted.evidence.interactions.nnz == seen
    phases = {path.stem for path in (three.directory / "checkpoints").glob("*.pt")}
    assert phases == {"held-out-0", "base-0", "router", "refit-0"}
    state = torch.load(three.directory / "checkpoints" / "refit-0.pt", weights_only=True)
    grown = three.fitted.training_facts()["best_steps"][0] * seen / three.split.train.nnz
    assert state["step"] == round(grown)


def test_every_base_continues_the_one_before_in_its_coordinates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phases: dict[str, tuple[BasePhase, Any, float]] = {}
    turned: list[tuple[FrozenBase, FrozenBase]] = []
    begin = BasePhase.__init__

    def noted(self: BasePhase, name: str, *given: Any, **more: Any) -> None:
        begin(self, name, *given, **more)
        phases[name] = self, more["continues"], self.optimiser.param_groups[0]["lr"]

    def aligning(base: FrozenBase, reference: FrozenBase) -> FrozenBase:
        turned.append((aligned(base, reference), reference))
        return turned[-1][0]

    monkeypatch.setattr(BasePhase, "__init__", noted)
    monkeypatch.setattr(recipe, "aligned", aligning)
    fit = fit_magnet(tiny_dataset(), tmp_path, base={"average": 0.9})
    assert {phase.average for phase, *_ in phases.values()} == {0.9}
    rate = fit.config.base.learning_rate
    assert list(phases) == ["held-out-0", "base-0", "refit-0"]
    assert phases["held-out-0"][1:] == (None, rate)
    for name, before in (("base-0", "held-out-0"), ("refit-0", "base-0")):
        assert phases[name][1] is phases[before][0].module
        assert phases[name][2] == pytest.approx(rate * fit.config.base.continued_rate)
    (first, held_out), (second, reference) = turned
    np.testing.assert_array_equal(held_out.history, freeze(phases["held-out-0"][0].module).history)
    assert fit.fitted.chosen.reference is reference is first
    np.testing.assert_array_equal(fit.fitted.evidence.base.history, first.history)
    np.testing.assert_array_equal(fit.refitted.evidence.base.history, second.history)


@pytest.mark.parametrize("placement", ["routed", "beside"])
def test_evidence_stands_where_it_is_told_with_the_weight_found_there(
    placement: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = {"departure": 1.0, "factor": 4.0, "static": 0.1, "mixture": 0.2}
    monkeypatch.setattr(recipe, "best_departure", lambda _, mixture, __: (mixture, judged))
    monkeypatch.setattr(recipe, "choose_blend", lambda *_: 3.0)
    fit = fit_magnet(tiny_dataset(), tmp_path, item_item={"placement": placement})
    assert fit.fitted.training_facts()["mixture"] == judged
    assert fit.fitted.chosen.blend == 12.0
    content = content_graphs(fit.dataset, fit.config)
    for model, part in ((fit.fitted, fit.split), (fit.refitted, fit.interactions)):
        assert model.evidence.routed == (placement == "routed")
        assert ("item-item" in {term.name for term in model.terms()}) == (placement == "beside")
        found, settings = model.evidence.item_item, fit.fitted.chosen.closed_form
        term = item_item(part.train, content, settings, fit.config.item_item, Run(tmp_path))
        assert term is not None
        assert found is not None
        np.testing.assert_allclose(found.values, 12 * term.values, rtol=1e-5)
        read = sum(share.toarray() for share in model.evidence.item_item_shares.values())
        np.testing.assert_allclose(read, 12 * term.matrix().toarray(), rtol=1e-4, atol=1e-5)
        assert not np.isin(found.items, np.flatnonzero(model.evidence.new)).any()  # these stand with their exposure


@pytest.mark.parametrize("placement", ["routed", "beside"])
def test_a_mixture_that_departs_by_nothing_is_the_plain_sum(placement: str, tmp_path: Path) -> None:
    fit = fit_magnet(tiny_dataset(), tmp_path, item_item={"placement": placement})
    evidence, rows = fit.fitted.evidence, np.arange(fit.dataset.n_users)
    learned = a_learned_mixture(fit)
    plain = MagnetScorer(evidence, learned.departed(0.0)).score_block(rows)
    np.testing.assert_allclose(plain, plain_sum(evidence, rows), atol=2e-6 * max(10.0, float(np.ptp(plain))))
    whole = MagnetScorer(evidence, learned).score_block(rows)
    np.testing.assert_array_equal(MagnetScorer(evidence, learned.departed(1.0)).score_block(rows), whole)
    assert np.abs(whole - plain).max() > 1e-3


def test_validation_says_how_far_to_depart_and_with_what_weight(tmp_path: Path) -> None:
    fit = fit_magnet(tiny_dataset(), tmp_path)
    evidence, learned = fit.fitted.evidence, a_learned_mixture(fit)
    rows = np.flatnonzero(np.diff(fit.split.valid.indptr)).astype(np.int64)
    table = candidate_table(evidence, rows, fit.split.valid, fit.split.train, 20)
    chosen, judged = best_departure(evidence, learned, table)
    tried = {
        share: mean_quality(TableScores(evidence, learned.departed(share), table).by_weight().quality(judged["factor"]))
        for share in recipe.DEPARTURES
    }
    assert judged["mixture"] == pytest.approx(tried[judged["departure"]], abs=1e-6)
    assert judged["mixture"] >= max(tried.values()) - 1e-6
    assert judged["mixture"] >= judged["static"] - 1e-6, "the plain sum is among what is tried"
    kept = learned.departed(judged["departure"])
    torch.testing.assert_close(chosen.router.pair_weights, kept.router.pair_weights)
    torch.testing.assert_close(chosen.experts.item_map, kept.experts.item_map)


def test_what_lies_beyond_the_cap_of_histories_is_still_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No candidate for whoever took it, and no new item: neither to fit routing on, nor when scores are made."""
    tables: list[tuple[CandidateTable, sparse.csr_array]] = []

    def noted(evidence: Evidence, rows: Any, positives: sparse.csr_array, *given: Any, **more: Any) -> CandidateTable:
        tables.append((candidate_table(evidence, rows, positives, *given, **more), positives))
        return tables[-1][0]

    monkeypatch.setattr(recipe, "candidate_table", noted)
    fit = fit_magnet(tiny_dataset(), tmp_path, history_cap=2)
    for model, part in ((fit.fitted, fit.split), (fit.refitted, fit.interactions)):
        assert (np.diff(model.evidence.interactions.indptr) <= 2).all()
        np.testing.assert_array_equal(model.evidence.degree, dense(part.train).sum(axis=0))
    assert len(tables) == 3
    for table, positives in tables:
        taken = dense(fit.split.train) > dense(positives)
        assert not taken[table.user_rows[:, None], table.items.numpy()][table.unseen.numpy()].any()


def test_the_mixture_is_fitted_chosen_and_judged_among_items_with_interactions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables: list[CandidateTable] = []

    def noted(*given: Any, **more: Any) -> CandidateTable:
        tables.append(candidate_table(*given, **more))
        return tables[-1]

    monkeypatch.setattr(recipe, "candidate_table", noted)
    fit = fit_magnet(tiny_dataset(), tmp_path, router={"candidates": 40})
    new = dense(fit.split.train).sum(axis=0) == 0
    assert len(tables) == 3
    for table in tables:
        assert not new[table.items[table.unseen].numpy()].any()
        assert table.reachable == 1


def a_learned_mixture(fit: Fit) -> Mixture:
    """The fitted one with more learned than a few steps would, so that differences show."""
    mixture = copy.deepcopy(fit.fitted.mixture)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for value in (*mixture.experts.learned(), *mixture.router.learned()):
            value.add_(torch.randn(value.shape, generator=generator) * 0.3)
    return mixture


def test_the_weight_of_evidence_is_chosen_among_items_with_interactions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New items have no such evidence: a weight that is judged on them is too small for all others."""
    split = split_dataset(tiny_dataset(n_users=80, n_items=90), "cold-items", seed=0)
    new = np.bincount(split.train.indices, minlength=split.train.shape[1]) == 0
    assert new[split.valid.indices].any()
    judged_on = []

    def blend(base: Any, histories: Any, term: Any, on: Any) -> float:
        judged_on.append((on.valid, np.isfinite(base(np.arange(5)))))
        return 1.5

    monkeypatch.setattr(recipe, "choose_blend", blend)
    dataset = tiny_dataset(n_users=80, n_items=90)
    fitted = MagnetRecipe().fit(dataset, split, quick_config(), Run(tmp_path, seed=0))
    assert fitted.training_facts()["item_item_weight"] > 0
    assert judged_on
    for valid, finite in judged_on:
        assert valid.nnz == np.count_nonzero(~new[split.valid.indices])
        assert not new[valid.indices].any()
        np.testing.assert_array_equal(finite, np.broadcast_to(~new, finite.shape))
