from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse

from training.evaluation.metrics import ndcg_at, recall_at
from training.evaluation.ranking import ScoreBlock, rank_positives
from training.graph.content import content_knn
from training.models import closed_form, closed_form_search
from training.models.closed_form import ClosedFormSettings, fit_closed_form
from training.models.closed_form_search import DENOISINGS, FIRST_NOISE, choose

N_USERS, N_ITEMS, N_KINDS = 300, 120, 12


class World:
    """Users who like two kinds of items each; `textual` tells the kind, `visual` tells nothing."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        kind = rng.integers(0, N_KINDS, N_ITEMS)
        likes = np.stack([rng.permutation(N_KINDS)[:2] for _ in range(N_USERS)])
        liking = 0.004 + 0.35 * (kind[None, :, None] == likes[:, None, :]).any(axis=2)
        part = np.where(rng.random((N_USERS, N_ITEMS)) < liking, rng.integers(0, 4, (N_USERS, N_ITEMS)), -1)
        self.train, self.valid, self.test = (
            sparse.csr_array(np.isin(part, which).astype(np.float32)) for which in ([0, 1], [2], [3])
        )
        present = np.ones(N_ITEMS, bool)
        told = (np.eye(N_KINDS)[kind] + 0.2 * rng.normal(size=(N_ITEMS, N_KINDS))).astype(np.float32)
        noise = rng.normal(size=(N_ITEMS, N_KINDS)).astype(np.float32)
        self.graphs = {"visual": content_knn(noise, present, k=5), "textual": content_knn(told, present, k=5)}

    def quality(self, settings: ClosedFormSettings, positives: sparse.csr_array) -> float:
        weights = fit_closed_form(self.train, self.graphs, settings, per_row=N_ITEMS).matrix()
        users = np.flatnonzero(np.diff(positives.indptr))
        of_users = positives[users]
        ranks = rank_positives(lambda rows: (self.train[rows] @ weights).toarray(), of_users, self.train, users)
        return float((recall_at(20, ranks, of_users.indptr) + ndcg_at(20, ranks, of_users.indptr)).mean())


@pytest.fixture(scope="module")
def world() -> World:
    return World(seed=1)


@pytest.fixture(scope="module")
def chosen(world: World) -> ClosedFormSettings:
    return choose(world.train, world.valid, world.graphs)


def test_the_telling_modality_is_found(chosen: ClosedFormSettings) -> None:
    assert chosen.content > 0
    assert chosen.mix["textual"] > chosen.mix["visual"]
    assert sum(chosen.mix.values()) == pytest.approx(1.0)
    assert chosen.cold_scale > 0


def test_no_other_strength_or_regularisation_on_the_grid_validates_better(
    world: World, chosen: ClosedFormSettings
) -> None:
    best = world.quality(chosen, world.valid)
    for factor in (0.5, 2.0):
        other_reg = replace(chosen, reg=chosen.reg * factor, content=chosen.content / factor)
        other_content = replace(chosen, content=chosen.content * factor)
        assert world.quality(other_reg, world.valid) <= best + 1e-6
        assert world.quality(other_content, world.valid) <= best + 1e-6


def test_content_pays_in_the_test_too(world: World, chosen: ClosedFormSettings) -> None:
    ease = choose(world.train, world.valid, {}, plain=True)
    assert ease.content == 0
    assert ease.mix == {}
    assert world.quality(chosen, world.test) > world.quality(ease, world.test)


def test_each_point_that_is_tried_is_told_of(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    inverses: list[float] = []
    solution = closed_form.Solution

    def counted(moments: closed_form.Moments, reg: float, *how: Any) -> closed_form.Solution:
        inverses.append(reg)
        return solution(moments, reg, *how)

    monkeypatch.setattr(closed_form_search, "Solution", counted)
    told: list[str] = []
    found = choose(world.train, world.valid, world.graphs, tried=told.append)
    assert told == [f"λ {reg:.3g}" for reg in inverses]
    assert f"λ {found.reg:.3g}" in told


def test_how_noisy_histories_are_is_chosen_too(world: World, chosen: ClosedFormSettings) -> None:
    """No worse than what it started from, or than EASE, and at the optimum among what is tried."""
    best = world.quality(chosen, world.valid)
    for other in (FIRST_NOISE.denoising, *DENOISINGS):
        assert world.quality(replace(chosen, denoising=other), world.valid) <= best + 1e-6
    plain = choose(world.train, world.valid, world.graphs, plain=True)
    assert (plain.tempering, plain.denoising) == (0, 0)
    assert world.quality(plain, world.valid) <= best + 1e-6


def test_a_few_long_histories_are_tempered_where_that_helps() -> None:
    """People with long histories who take anything, beside the many who know what they like."""
    world = World(seed=2)
    anything = sparse.csr_array((np.random.default_rng(2).random((60, N_ITEMS)) < 0.6).astype(np.float32))
    nobody = sparse.csr_array(anything.shape, dtype=np.float32)
    train, valid = sparse.vstack([world.train, anything]), sparse.vstack([world.valid, nobody])
    found = choose(sparse.csr_array(train), sparse.csr_array(valid), world.graphs)
    assert found.tempering > 0


def test_new_items_may_be_left_out_of_the_choice(world: World, chosen: ClosedFormSettings) -> None:
    found = choose(world.train, world.valid, world.graphs, new_items=False)
    assert found == replace(chosen, cold_scale=0.0)


def test_same_data_same_choice(world: World, chosen: ClosedFormSettings) -> None:
    assert choose(world.train, world.valid, world.graphs) == chosen


def test_really_cold_positives_decide_the_cold_scale(world: World) -> None:
    """Where a fifth of the items is cold in earnest and validation asks for them, they get a high scale."""
    cold = np.arange(N_ITEMS) % 5 == 0
    train = sparse.csr_array(world.train @ sparse.diags_array((~cold).astype(np.float32)))
    train.eliminate_zeros()
    asked = sparse.csr_array(world.valid + world.train @ sparse.diags_array(cold.astype(np.float32)))
    asked.eliminate_zeros()
    on_cold = sparse.csr_array(asked @ sparse.diags_array(cold.astype(np.float32)))
    on_cold.eliminate_zeros()
    simulated = choose(train, world.valid, world.graphs).cold_scale
    assert choose(train, on_cold, world.graphs).cold_scale > simulated


def test_a_large_catalogue_is_searched_by_what_its_popular_items_predict(
    world: World, chosen: ClosedFormSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two thirds of the items choose, and predict, nearly as well as all; content still tells of the others."""
    everything = world.quality(chosen, world.test)
    monkeypatch.setattr(closed_form_search, "MOST_PREDICTORS", 80)
    found = choose(world.train, world.valid, world.graphs)
    assert found.mix["textual"] > found.mix["visual"]
    assert found.cold_scale > 0
    assert world.quality(found, world.test) > 0.95 * everything
    monkeypatch.setattr(closed_form, "MOST_PREDICTORS", 80)
    assert world.quality(found, world.test) > 0.8 * everything


def test_of_very_many_users_some_choose(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every third of them: as if the others had no validation positives."""
    users = np.flatnonzero(np.diff(world.valid.indptr))
    judged = world.valid.toarray()
    judged[np.setdiff1d(np.arange(N_USERS), users[::3])] = 0
    by_some = choose(world.train, sparse.csr_array(judged), {}, plain=True)
    asked: set[int] = set()

    def ranked(scores: ScoreBlock, positives: sparse.csr_array, *rest: Any, **how: Any) -> NDArray[np.int32]:
        asked.add(positives.shape[0])
        return rank_positives(scores, positives, *rest, **how)

    monkeypatch.setattr(closed_form_search, "rank_positives", ranked)
    monkeypatch.setattr(closed_form_search, "MOST_USERS", len(users) // 3)
    assert choose(world.train, world.valid, {}, plain=True) == by_some
    assert asked == {len(users[::3])}
