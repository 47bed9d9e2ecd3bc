"""Recovery: planted drivers are named where amounts tell them, and only there."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from model_store.draft import SnapshotDraft
from model_store.scoring import scorer_for
from tests.support.planted import item_item_draft, planted_truth
from training.data.demo.choices import affinities
from training.data.demo.truth import Truth
from training.errors import TrainingError
from training.evaluation.explanation.measure import explanation_quality
from training.evaluation.explanation.recovery import recovery, unusual_share

NAMES = {"visual": 0, "textual": 1, "behaviour": 2}
"""Which of the generator's affinities each modality stands for."""


@pytest.fixture(scope="module")
def truth() -> Truth:
    return planted_truth(seed=5, n_users=240, n_items=160)


def likeness(truth: Truth) -> SnapshotDraft:
    """A model that knows the generator: items are alike in looks, description and standing as the tastes see them."""
    tables = affinities(truth.items)
    alike = {name: tables[at].T @ tables[at] / len(tables[at]) for name, at in NAMES.items()}
    weights = {name: alike[name] for name in ("behaviour", "visual", "textual")}
    return item_item_draft(truth.choices.offsets, truth.choices.item_row, weights)


def test_the_unusual_share_is_named_whatever_is_large_for_everybody() -> None:
    # shares: (.8, .1, .1), (.8, .2, 0), (.6, .1, .3): the mean is (.733, .133, .133)
    amounts = np.array([[8.0, 1.0, 1.0], [1.6, 0.4, 0.0], [6.0, 1.0, 3.0]])
    assert unusual_share(amounts).tolist() == [0, 1, 2]


def test_users_without_amounts_and_columns_without_spread_do_no_harm() -> None:
    amounts = np.array([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 2.0]])
    assert unusual_share(amounts)[1:].tolist() == [1, 2]


def test_amounts_that_know_the_generator_name_the_planted_drivers(truth: Truth) -> None:
    draft = likeness(truth)
    found: Any = recovery(scorer_for(draft), draft, truth.user_ids, truth, seed=0)
    assert found["whole"] > 0.85
    assert min(found["by_kind"].values()) > 0.7
    assert found["chance"] == round(1 / 3, 4)
    assert found["users"] == int((truth.users.kind < 3).sum())
    assert found["bayes_oracle"] > 0.95
    assert not found.keys() & {"routed", "gates_alone", "random_weights"}  # nothing is routed


def test_amounts_under_exchanged_names_name_the_wrong_drivers(truth: Truth) -> None:
    draft = likeness(truth)
    exchanged = replace(
        draft, arrays={**draft.arrays, "item_item_values": draft.arrays["item_item_values"][:, [1, 2, 0]]}
    )
    found: Any = recovery(scorer_for(exchanged), exchanged, truth.user_ids, truth, seed=0)
    assert found["whole"] < 0.15


def test_users_are_told_by_id_and_strangers_are_not_judged(truth: Truth) -> None:
    draft = likeness(truth)
    ids = ["stranger", *truth.user_ids[1:]]
    found: Any = recovery(scorer_for(draft), draft, ids, truth, seed=0)
    assert found["users"] == int((truth.users.kind[1:] < 3).sum())


def test_a_truth_about_nobody_here_is_an_error(truth: Truth) -> None:
    draft = likeness(truth)
    with pytest.raises(TrainingError, match="users of the truth"):
        recovery(scorer_for(draft), draft, [f"other{row}" for row in range(240)], truth, seed=0)


def test_one_planted_driver_alone_cannot_be_told_from_others(truth: Truth) -> None:
    tables = affinities(truth.items)
    draft = item_item_draft(truth.choices.offsets, truth.choices.item_row, {"behaviour": tables[2].T @ tables[2]})
    with pytest.raises(TrainingError, match="at least two"):
        recovery(scorer_for(draft), draft, truth.user_ids, truth, seed=0)
    assert explanation_quality(draft, None, seed=0, truth=truth, user_ids=truth.user_ids) == {}  # and a run goes on
