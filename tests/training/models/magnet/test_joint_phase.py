"""Base, experts and router fitted together: what reaches what, the same model served, resumed and refused.

Axes: `U` users, `I` items.
"""

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse

from model_store.scoring import scorer_for
from tests.support.drafts import assert_same_top, draft_of
from tests.support.tiny_dataset import tiny_dataset
from tests.support.tiny_magnet import Fit, fit_magnet, quick_config
from training.config import ConfigError, model_settings
from training.data.splits import split_dataset
from training.fit.loop import Interrupted, run_phase
from training.fit.losses import lambda_rank
from training.fit.run import Run
from training.models.magnet import recipe
from training.models.magnet.candidates import candidate_table
from training.models.magnet.config import MagnetConfig
from training.models.magnet.fitted import FittedMagnet
from training.models.magnet.frozen import freeze
from training.models.magnet.joint_phase import JointPhase
from training.models.magnet.recipe import MagnetRecipe
from training.models.magnet.router_phase import DEPTH, RouterPhase
from training.models.magnet.scored import Evidence, Mixture


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> Fit:
    return fit_magnet(tiny_dataset(seed=3), tmp_path_factory.mktemp("joint"), router={"joint": True})


@pytest.fixture
def joint_phase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., JointPhase]:
    """The phase as the recipe makes it, before any step."""

    def made(**changed: Any) -> JointPhase:
        found: list[JointPhase] = []

        class Found(Exception):
            """There it is."""

        def stop(phase: JointPhase, *_: object, **__: object) -> None:
            found.append(phase)
            raise Found

        dataset = tiny_dataset(seed=3)
        config = quick_config(**{**changed, "router": {"joint": True, **changed.get("router", {})}})
        with monkeypatch.context() as patched:
            patched.setattr(recipe, "run_phase", stop)
            with pytest.raises(Found):
                MagnetRecipe().fit(dataset, split_dataset(dataset, "random", seed=1), config, Run(tmp_path, seed=3))
        return found[0]

    return made


def test_the_base_in_training_is_read_as_it_will_be_frozen(joint_phase: Callable[..., JointPhase]) -> None:
    phase = joint_phase(history_cap=4)
    run_phase(phase, Run(phase.router.run.directory, seed=3), max_steps=7, evaluate_every=None)
    phase.validate()
    live, frozen, fitting = phase.live(), freeze(phase.base.module), phase.router.fitting
    np.testing.assert_allclose(live.parts.detach().numpy(), frozen.parts, atol=1e-6)
    expected = frozen.users(fitting.evidence.interactions)
    np.testing.assert_allclose(live.users.detach().numpy(), expected, atol=1e-6)
    rows = torch.from_numpy(phase.router.usable)
    phase.module.eval()
    for of_live, of_table in zip(fitting.routed(rows, live)[0], fitting.routed(rows)[0], strict=True):
        torch.testing.assert_close(of_live, of_table, rtol=1e-4, atol=1e-5)


def test_the_ranking_loss_reaches_base_experts_and_router(joint_phase: Callable[..., JointPhase]) -> None:
    phase = joint_phase()
    parts = phase.losses(0, np.random.default_rng(0))
    parts["ranking"].backward()  # type: ignore[no-untyped-call]
    reached = {
        name: float(value.grad.abs().max()) for name, value in phase.module.named_parameters() if value.grad is not None
    }
    for name in ("identity", "projection.to_visual", "projection.to_textual", "fusion"):
        assert reached[f"base.{name}"] > 1e-6, name
    for name in ("experts.delta", "experts.log_gain", "experts.item_map", "router.pair_weights", "router.item.w2"):
        assert reached[f"router.mixture.{name}"] > 1e-6, name


def test_losses_are_those_of_both_phases(joint_phase: Callable[..., JointPhase]) -> None:
    phase, twin = joint_phase(), joint_phase()
    found = phase.losses(0, np.random.default_rng(5))
    rng = np.random.default_rng(5)
    of_base = twin.base.losses(0, rng)
    of_mixture = twin.router.mixture_losses(0, rng)  # nothing has moved yet: the frozen base is the live one
    assert set(found) == {"softmax", "alignment", "ranking", "z", "coverage"}
    for name, value in of_base.items():
        assert torch.equal(found[name], value), name
    for name, value in of_mixture.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6)


def test_a_joint_fit_learns_a_mixture(joint_phase: Callable[..., JointPhase]) -> None:
    """It ranks held-out positives better than the sum that it starts from, over a base that hardly moves."""
    phase = joint_phase(base={"learning_rate": 1e-9}, router={"learning_rate": 0.01})
    run_phase(phase, Run(phase.router.run.directory, seed=3), max_steps=60, evaluate_every=None)
    learned = phase.mixture
    for value in (*learned.experts.learned(), *learned.router.learned()):
        assert float(value.detach().abs().max()) > 1e-3

    def ranking(mixture: Mixture) -> float:
        fitting, rows = phase.router.fitting, torch.from_numpy(phase.router.usable)
        fitting.mixture = mixture.eval()
        with torch.no_grad():
            logits = fitting.routed(rows)[0] * phase.router.module.log_sharpness.exp()
            table, relevant = fitting.table, torch.from_numpy(fitting.table.held_out)[rows]
            return float(lambda_rank(logits, table.positive[rows], table.unseen[rows], relevant, depth=DEPTH))

    assert ranking(learned) < 0.97 * ranking(learned.departed(0.0))


def test_what_was_fitted_jointly_is_what_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Mixture] = []
    original = recipe.best_departure

    def noted(evidence: Evidence, mixture: Mixture, table: Any) -> Any:
        given.append(mixture)
        return original(evidence, mixture, table)

    monkeypatch.setattr(recipe, "best_departure", noted)
    monkeypatch.setattr(RouterPhase, "losses", None)  # there is no phase of the router's own
    fit = fit_magnet(tiny_dataset(seed=3), tmp_path, router={"joint": True})
    phases = {path.stem for path in (tmp_path / "checkpoints").glob("*.pt")}
    assert phases == {"joint", "base-0", "refit-0"}
    best = torch.load(tmp_path / "checkpoints" / "joint.pt", weights_only=True)["best_state"]
    for name, value in given[0].state_dict().items():
        assert torch.equal(value, best[f"router.mixture.{name}"]), name
    for value in (*given[0].experts.learned(), *given[0].router.learned()):
        assert float(value.detach().abs().max()) > 0
    # the base is continued from the one fitted jointly, on all positives and in its coordinates
    assert fit.fitted.training_facts()["phases"]["base-0"]["steps"] > 0
    assert fit.fitted.evidence.interactions.nnz == fit.split.train.nnz
    moved = float((fit.fitted.chosen.modules[0].identity.detach() - best["base.identity"]).abs().mean())
    assert moved < 0.2 * float(best["base.identity"].abs().mean()) + 0.05
    assert given[0].training is False


def test_a_base_is_chosen_only_after_the_second_stage_has_ramped(joint: Fit) -> None:
    facts, config = joint.fitted.training_facts(), joint.config
    # QUICK allows 20 steps of the base and 40 of the router, of which a quarter may pass before the second stage
    assert facts["stage_switch_step"] <= config.entropy.max_share * config.base.max_steps
    assert facts["phases"]["joint"]["best_step"] >= facts["stage_switch_step"] + config.entropy.ramp
    assert facts["stage_switch_epoch"] > 0
    logged = (joint.directory / "history.jsonl").read_text().splitlines()
    keys = set().union(*(set(json.loads(line)) for line in logged if json.loads(line)["phase"] == "joint"))
    assert {"softmax", "ranking", "specialisation", "load_entropy", "valid/recall@20"} <= keys


def test_a_joint_fit_is_served_as_it_was_fitted(joint: Fit) -> None:
    draft, files = draft_of(joint.refitted, joint.dataset, joint.interactions, history_cap=joint.config.history_cap)
    assert {"user_encoder.onnx", "item_encoder.onnx"} <= set(files)
    scorer, users = scorer_for(draft), np.arange(joint.dataset.n_users)
    expected = joint.refitted.score_block(users)
    assert np.ptp(expected) > 0.1
    for user in users:
        found = scorer.score_all(scorer.known_user(int(user)))
        np.testing.assert_allclose(found, expected[user], atol=1e-4)
        assert_same_top(found, expected[user], k=20, tolerance=1e-4)


@pytest.mark.parametrize("step", [2, 12], ids=["before a validation", "between validations"])
def test_an_interruption_of_a_joint_fit_changes_nothing(
    joint: Fit, step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What statistics are of is older than the parameters: a checkpoint has to carry it."""
    original = JointPhase.losses

    def interrupted(self: JointPhase, at: int, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        if at == step:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, at, rng)

    arguments = joint.dataset, joint.split, joint.config
    with monkeypatch.context() as patched:
        patched.setattr(JointPhase, "losses", interrupted)
        with pytest.raises(Interrupted, match=f"in joint after step {step + 1}"):
            MagnetRecipe().fit(*arguments, Run(tmp_path, seed=3))
    resumed = MagnetRecipe().fit(*arguments, Run(tmp_path, seed=3, resume=True))
    users = np.arange(joint.dataset.n_users)
    np.testing.assert_array_equal(resumed.score_block(users), joint.fitted.score_block(users))
    whole, again = (
        [line for line in (directory / "history.jsonl").read_text().splitlines() if '"joint"' in line]
        for directory in (joint.directory, tmp_path)
    )
    assert again == whole


def test_averages_are_those_of_the_phase_that_a_parameter_belongs_to(joint_phase: Callable[..., JointPhase]) -> None:
    phase = joint_phase(base={"average": 0.5}, router={"average": 0.9})
    assert {phase.average_of(name) for name, _ in phase.base.module.named_parameters("base")} == {0.5}
    assert {phase.average_of(name) for name, _ in phase.mixture.named_parameters("router.mixture")} == {0.9}


def test_candidates_before_there_is_a_base(joint: Fit) -> None:
    evidence, split, count = joint.fitted.evidence, joint.split, 8
    users = np.flatnonzero(np.diff(split.valid.indptr)).astype(np.int64)

    def drawn(of: Evidence, seed: int) -> Any:
        rng = np.random.default_rng(seed)
        return candidate_table(of, users, split.valid, split.train, count, among=of.degree > 0, drawn_by=rng)

    silent = replace(evidence, item_item=None, item_item_shares={})
    first, other = drawn(silent, 0), drawn(silent, 1)
    assert not torch.equal(first.items, other.items)
    for table in (first, drawn(evidence, 0)):
        assert not split.train[users].toarray()[np.arange(len(users))[:, None], table.items][table.unseen].any()
        assert (evidence.degree[table.items[table.unseen]] > 0).all()
    warm = split.valid[users].toarray() * (evidence.degree > 0)
    np.testing.assert_array_equal(first.positive.sum(dim=1).numpy(), np.minimum(warm.sum(axis=1), count))
    scored = np.zeros((joint.dataset.n_items, joint.dataset.n_items), np.float32)
    scored[:, 5] = 1  # whoever has not taken it has it among the candidates
    of_item_item = replace(silent, item_item_shares={0: sparse.csr_array(scored)})
    listed = (drawn(of_item_item, 0).items == 5).any(dim=1).numpy()
    np.testing.assert_array_equal(listed, split.train[users].toarray()[:, 5] == 0)


def test_more_members_are_refused_before_training() -> None:
    with pytest.raises(ConfigError, match=r"members = 1 with router\.joint, found 2"):
        model_settings(MagnetConfig, {"members": 2, "router": {"joint": True}})


def test_where_there_is_nothing_to_route_a_base_is_fitted_alone(tmp_path: Path) -> None:
    fit = fit_magnet(tiny_dataset([]), tmp_path, router={"joint": True})
    assert set(fit.fitted.training_facts()["phases"]) == {"held-out-0", "base-0"}


def test_a_joint_fit_in_mixed_precision_without_item_item_evidence(tmp_path: Path) -> None:
    dataset = tiny_dataset(["visual"])
    config = quick_config(router={"joint": True}, item_item={"enabled": False})
    split = split_dataset(dataset, "random", seed=0)
    fitted = MagnetRecipe().fit(dataset, split, config, Run(tmp_path, amp=True))
    assert isinstance(fitted, FittedMagnet)
    assert np.isfinite(fitted.score_block(np.arange(dataset.n_users))).all()


def test_one_after_the_other_gives_what_it_gave_before(three: Fit) -> None:
    """Known figures of the separate stages; loose enough for another machine's rounding."""
    history = [json.loads(line) for line in (three.directory / "history.jsonl").read_text().splitlines()]
    found = {(entry["phase"], entry["step"]): entry for entry in history}
    assert found["held-out-0", 5]["softmax"] == pytest.approx(3.24887, rel=1e-3)
    assert found["held-out-0", 20]["softmax"] == pytest.approx(2.91736, rel=1e-3)
    assert found["router", 1]["pair_entropy"] == pytest.approx(0.94467, rel=1e-3)
    assert found["router", 40]["ranking"] == pytest.approx(0.74085, rel=1e-2)
