"""Amounts held against perturbation: true amounts pass, false ones do not, and the controls stay controls."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from model_store import Store
from model_store.draft import SnapshotDraft
from tests.support.planted import item_item_draft
from tests.support.tiny_snapshot import write_tiny_pair_snapshot
from training.evaluation.explanation.masking import Mask
from training.evaluation.explanation.measure import Effort, explanation_quality
from training.evaluation.explanation.perturbation import spearman

SMALL = Effort(pairs=150, users=40)
N_USERS, N_ITEMS = 40, 300


def additive(seed: int = 0) -> SnapshotDraft:
    rng = np.random.default_rng(seed)
    histories = np.concatenate([np.sort(rng.choice(N_ITEMS, 8, replace=False)) for _ in range(N_USERS)])
    weights = {name: rng.gamma(2.0, size=(N_ITEMS, N_ITEMS)) for name in ("behaviour", "visual", "textual")}
    return item_item_draft(8 * np.arange(N_USERS + 1), histories, weights)


def taking_away(truth: SnapshotDraft) -> Mask:
    """The experiment on an additive model: what a modality gives to the masked items goes; half, with graphs kept."""
    names = [modality.name for modality in truth.manifest.modalities]

    def mask(
        item_rows: NDArray[np.int64],
        modality: str,
        *,
        rebuild: bool,
        user_rows: NDArray[np.int64] | None = None,
    ) -> Mapping[str, NDArray[Any]]:
        values = truth.arrays["item_item_values"].copy()
        values[np.isin(truth.arrays["item_item_items"], item_rows), names.index(modality)] *= 0.0 if rebuild else 0.5
        return {"item_item_values": values}

    return mask


def test_amounts_of_an_additive_model_are_its_drops() -> None:
    draft = additive()
    found: Any = explanation_quality(draft, taking_away(draft), seed=0, effort=SMALL)
    assert found["perturbation"]["pairs"] == {"visual": 150, "textual": 150}
    for graph in ("graph_frozen", "graph_rebuilt"):
        figures = found["perturbation"][graph]
        assert figures["whole"] == 1.0
        assert figures["by_modality"]["visual"]["whole"] == 1.0
        assert figures["routed"] is None  # nothing is routed
        assert figures["gates_held"] == {"whole": 1.0, "routed": None}
        assert figures["gates_alone"] == figures["random_weights"] == {"whole": None, "routed": None}
    assert "role_check" not in found


def test_amounts_that_belong_to_another_modality_fail() -> None:
    draft = additive()
    liar = replace(draft, arrays={**draft.arrays, "item_item_values": draft.arrays["item_item_values"][:, [0, 2, 1]]})
    found: Any = explanation_quality(liar, taking_away(draft), seed=0, effort=SMALL)
    assert abs(found["perturbation"]["graph_rebuilt"]["whole"]) < 0.4


def test_nothing_is_claimed_where_the_model_cannot_run_again_or_has_no_content() -> None:
    draft = additive()
    assert explanation_quality(draft, None, seed=0) == {}
    assert explanation_quality(draft, lambda *_, **__: None, seed=0) == {}
    behaviour = item_item_draft(
        8 * np.arange(N_USERS + 1), draft.arrays["history_items"], {"behaviour": np.eye(N_ITEMS)}
    )
    assert explanation_quality(behaviour, taking_away(behaviour), seed=0) == {}


@pytest.fixture(scope="module")
def routed(tmp_path_factory: pytest.TempPathFactory) -> SnapshotDraft:
    root: Path = tmp_path_factory.mktemp("store")
    snapshot = Store(root).open(write_tiny_pair_snapshot(root, n_users=60, n_items=300, embedding_size=16))
    arrays = {name: np.asarray(snapshot.array(name)) for name in snapshot.manifest.arrays}
    names: tuple[str, ...] = (
        "expert_mix",
        "expert_gain",
        "expert_template",
        "residual_maps",
        "pair_weights",
        "part_mean",
    )
    names += ("part_covariance", "part_with_total", "expert_maps", "expert_scale", "expert_removes", "members")
    names += tuple(f"user_router_{name}" for name in ("mean", "scale", "w1", "b1", "w2", "b2"))
    return SnapshotDraft(snapshot.manifest, arrays, {name: snapshot.parameter(name) for name in names})


def without_parts(draft: SnapshotDraft) -> Mask:
    """An item's part is gone; nothing else of the model notices, but for the router, which sees the mask."""
    names = [modality.name for modality in draft.manifest.modalities]

    def mask(
        item_rows: NDArray[np.int64],
        modality: str,
        *,
        rebuild: bool,
        user_rows: NDArray[np.int64] | None = None,
    ) -> Mapping[str, NDArray[Any]]:
        parts, present = draft.arrays["item_parts"].copy(), draft.arrays["item_present"].copy()
        parts[item_rows, names.index(modality)] = 0
        present[item_rows, names.index(modality)] = False
        return {"item_parts": parts, "item_present": present}

    return mask


def test_experts_led_by_a_modality_move_more_when_it_goes(routed: SnapshotDraft) -> None:
    found: Any = explanation_quality(routed, without_parts(routed), seed=0, effort=SMALL)
    for name in ("visual", "textual"):
        check = found["role_check"][name]
        assert check["holds"]
        assert check["led"] > check["others"] > 0
        assert check["experts"][f"dominant-{name}"] == check["led"]
        assert len(check["experts"]) == 9


def test_amounts_of_a_routed_model_tell_more_than_the_controls(routed: SnapshotDraft) -> None:
    found: Any = explanation_quality(routed, without_parts(routed), seed=0, effort=SMALL)
    figures = found["perturbation"]["graph_frozen"]
    for part in ("whole", "routed"):
        assert figures[part] > 0.35
        assert abs(figures["random_weights"][part]) < 0.25
        assert figures[part] > figures["gates_alone"][part]
        assert figures["gates_held"][part] > figures[part]  # here the router sees the mask and changes its mind


def test_the_same_seed_gives_the_same_figures(routed: SnapshotDraft) -> None:
    few = Effort(pairs=30, users=10)
    first, again = (explanation_quality(routed, without_parts(routed), seed=4, effort=few) for _ in range(2))
    assert first == again != explanation_quality(routed, without_parts(routed), seed=5, effort=few)


def test_rank_correlation_with_ties_by_hand() -> None:
    # ranks (1, 2.5, 2.5, 4) and (1, 2, 3, 4): covariance 4.5, variances 4.5 and 5, so 4.5 / √22.5
    assert spearman(np.array([0.0, 7.0, 7.0, 9.0]), np.array([1.0, 2.0, 3.0, 4.0])) == round(4.5 / 22.5**0.5, 4)


def test_a_constant_has_no_rank_correlation() -> None:
    assert spearman(np.ones(4), np.arange(4.0)) is None
    assert spearman(np.zeros(0), np.zeros(0)) is None
