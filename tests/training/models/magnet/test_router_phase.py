"""Phase B: what it is validated on, its two stages, its steps, and that it can be interrupted."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.tiny_magnet import Fit
from training.evaluation.metrics import ndcg_at, recall_at
from training.evaluation.ranking import rank_positives
from training.fit.loop import Interrupted
from training.fit.run import Run
from training.models.magnet.candidates import candidate_table
from training.models.magnet.entropy import EntropySchedule
from training.models.magnet.recipe import MagnetRecipe
from training.models.magnet.router_phase import SHARPNESS_RATE, RouterPhase
from training.models.magnet.scored import MagnetScorer


def router_phase(three: Fit, directory: Path, count: int) -> RouterPhase:
    users = np.flatnonzero(np.diff(three.split.valid.indptr)).astype(np.int64)
    table = candidate_table(three.fitted.evidence, users, three.split.valid, three.split.train, count)
    return RouterPhase(
        "router",
        three.fitted.evidence,
        three.fitted.mixture,
        EntropySchedule(three.config.entropy, three.config.router.steps),
        three.config.router,
        fitted_on=table,
        selected_on=table,
        run=Run(directory),
    )


def test_the_router_is_validated_as_the_whole_model_would_be(three: Fit, tmp_path: Path) -> None:
    """With every item a candidate, recall and NDCG are those of the full ranking by the served score.

    But for the exposure of new items, which are no candidates there and get it once the mixture is fitted.
    """
    unexposed = MagnetScorer(replace(three.fitted.evidence, exposure=0.0), three.fitted.mixture)
    users = np.flatnonzero(np.diff(three.split.valid.indptr)).astype(np.int64)
    positives = three.split.valid[users]
    ranks = rank_positives(unexposed.score_block, positives, three.split.train, users)
    found = router_phase(three, tmp_path, 1000).validate()
    assert found["recall@20"] == pytest.approx(recall_at(20, ranks, positives.indptr).mean(), abs=1e-6)
    assert found["ndcg@20"] == pytest.approx(ndcg_at(20, ranks, positives.indptr).mean(), abs=1e-6)
    narrow = router_phase(three, tmp_path, 5).validate()  # positives out of reach count as missed
    reached = router_phase(three, tmp_path, 5).selecting.table.reachable
    assert narrow["recall@20"] <= found["recall@20"]
    assert reached < 1


def test_the_router_phase_goes_through_both_stages_and_may_choose_only_after_the_ramp(
    three: Fit, tmp_path: Path
) -> None:
    phase = router_phase(three, tmp_path, 20)
    stages, keys = [], []
    for step in range(three.config.router.steps):
        losses = phase.losses(step, np.random.default_rng(step))
        assert all(bool(part.isfinite()) for part in losses.values())
        stages.append((phase.schedule.second_stage, phase.selectable(step)))
        keys.append(set(losses))
    assert stages[0] == (False, False)
    assert (True, False) in stages
    assert stages[-1] == (True, True)
    assert "specialisation" in keys[-1] - keys[0]
    history = (tmp_path / "history.jsonl").read_text()
    for said in ("load_entropy", "pair_entropy", "effective_experts", "min_load", "load/dominant-visual"):
        assert said in history, said
    assert history.count("stage_switch") == 1


def test_the_routers_steps_shrink_to_a_twentieth_and_are_averaged(three: Fit, tmp_path: Path) -> None:
    phase, steps = router_phase(three, tmp_path, 20), three.config.router.steps
    assert phase.average == three.config.router.average > 0
    for step, share in ((0, 1.0), (steps // 2, 0.5), (steps - 1, 0.05)):
        phase.losses(step, np.random.default_rng(step))
        rates = [group["lr"] for group in phase.optimiser.param_groups]
        assert rates == pytest.approx([three.config.router.learning_rate * share, SHARPNESS_RATE * share])


def test_an_interruption_while_the_router_is_fitted_changes_nothing(
    three: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its schedule has a memory of its own, which the checkpoint has to carry."""
    original = RouterPhase.losses

    def interrupted(self: RouterPhase, step: int, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        if step == 17:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, step, rng)

    arguments = three.dataset, three.split, three.config
    with monkeypatch.context() as patched:
        patched.setattr(RouterPhase, "losses", interrupted)
        with pytest.raises(Interrupted, match="in router after step 18"):
            MagnetRecipe().fit(*arguments, Run(tmp_path, seed=3))
    resumed = MagnetRecipe().fit(*arguments, Run(tmp_path, seed=3, resume=True))
    users = np.arange(three.dataset.n_users)
    np.testing.assert_array_equal(resumed.score_block(users), three.fitted.score_block(users))
    facts, expected = resumed.training_facts(), three.fitted.training_facts()
    for name in ("best_steps", "stage_switch_step", "stage_switch_epoch", "epochs", "item_item_weight"):
        assert facts[name] == expected[name], name
