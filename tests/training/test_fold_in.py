"""Holding users out of training entirely, and folding them in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model_store.scoring.base import Rows, UserState
from model_store.scoring.item_item import ItemItemScorer
from training.data.dataset import Dataset
from training.data.interactions import Interactions
from training.data.items import ItemTable
from training.errors import TrainingError
from training.fit.run import Run
from training.fold_in import fold_in_quality, hold_users_out
from training.models.registry import recipe_for

N_USERS, N_ITEMS, PER_USER = 40, 30, 12


def tastes(*, per_user: int = PER_USER) -> Dataset:
    """Users of two tastes: each takes items of one half of the catalogue only."""
    rng = np.random.default_rng(0)
    half = N_ITEMS // 2
    rows = [user % 2 * half + rng.choice(half, per_user, replace=False) for user in range(N_USERS)]
    return Dataset(
        name="tastes",
        user_ids=[f"user-{row}" for row in range(N_USERS)],
        items=ItemTable(
            item_ids=[f"item-{row}" for row in range(N_ITEMS)],
            titles=[None] * N_ITEMS,
            categories=[()] * N_ITEMS,
            descriptions=[None] * N_ITEMS,
            images=[None] * N_ITEMS,
        ),
        interactions=Interactions(
            user_row=np.repeat(np.arange(N_USERS, dtype=np.int32), per_user),
            item_row=np.concatenate(rows).astype(np.int32),
        ),
        features={},
    )


def test_held_out_users_leave_no_trace_in_training() -> None:
    held_out = hold_users_out(tastes(), share=0.25, seed=3)
    held = np.flatnonzero(np.diff(held_out.wanted.indptr))
    assert len(held) == N_USERS // 4
    assert not np.diff(held_out.without.train.indptr)[held].any()
    assert not np.diff(held_out.without.valid.indptr)[held].any()
    histories = held_out.with_histories.train - held_out.without.train
    np.testing.assert_array_equal(np.diff(histories.tocsr().indptr)[held], PER_USER // 2)
    assert histories.nnz == len(held) * (PER_USER // 2)
    assert histories.multiply(held_out.wanted).nnz == 0


def test_what_is_folded_in_comes_oldest_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[list[int]] = []
    encode = ItemItemScorer.encode_user

    def spied(self: ItemItemScorer, history_rows: Rows) -> UserState:
        given.append(list(map(int, history_rows)))
        return encode(self, history_rows)

    monkeypatch.setattr(ItemItemScorer, "encode_user", spied)
    dataset = tastes()
    youngest_first = -dataset.interactions.item_row.astype(np.float64)
    dataset = replace(dataset, interactions=replace(dataset.interactions, timestamp=youngest_first))
    held_out, recipe = hold_users_out(dataset, share=0.25, seed=3), recipe_for("ease")
    fold_in_quality(recipe, recipe.config_type(), dataset, held_out, Run(tmp_path))
    assert len(given) >= N_USERS // 4
    assert all(rows == sorted(rows, reverse=True) and len(rows) == PER_USER // 2 for rows in given)


def test_users_with_too_few_interactions_cannot_be_held_out() -> None:
    with pytest.raises(TrainingError, match="at least 10"):
        hold_users_out(tastes(per_user=5), share=0.25, seed=0)


def test_a_closed_form_folds_in_what_it_would_have_learnt(tmp_path: Path) -> None:
    dataset, recipe = tastes(), recipe_for("ease")
    quality = fold_in_quality(
        recipe, recipe.config_type(), dataset, hold_users_out(dataset, share=0.25, seed=3), Run(tmp_path)
    )
    # twenty places for half a catalogue of fifteen: whoever knows the taste finds nearly all
    assert quality["folded_in"] > 0.9
    assert quality["ratio"] == pytest.approx(quality["folded_in"] / quality["trained_with"], abs=1e-3)
