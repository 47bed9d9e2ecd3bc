"""What a manifest states about candidates, against what the service's own candidates find."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model_store.draft import SnapshotDraft
from model_store.manifest import STEERED_FACTORS, Candidates, ManifestDraft
from model_store.snapshot import Snapshot
from model_store.store import Store
from service.candidates import Filters, gather
from service.ranking import rank, steering
from service.served import MIN_DEPTH, ServedSnapshot
from service.view import View
from tests.support.tiny_snapshot import EXPERTS, MODALITIES, write_tiny_pair_snapshot
from training.export.measure import measured
from training.export.measure_candidates import SHOWN, WANTED_STEERED_RECALL

N_ITEMS = 600
N_USERS = 50


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    root = tmp_path_factory.mktemp("store")
    return Store(root).open(write_tiny_pair_snapshot(root, n_items=N_ITEMS, n_users=N_USERS, depth=1))


def draft_like(snapshot: Snapshot) -> SnapshotDraft:
    manifest = ManifestDraft(**{name: getattr(snapshot.manifest, name) for name in ManifestDraft.model_fields})
    arrays = {name: snapshot.array(name) for name in snapshot.manifest.arrays}
    return SnapshotDraft(manifest, arrays, {name: snapshot.parameter(name) for name in snapshot.parameters})


@pytest.fixture(scope="module")
def candidates(snapshot: Snapshot) -> Candidates:
    categories = [snapshot.item(row).categories for row in range(N_ITEMS)]
    return measured(draft_like(snapshot), seed=0, categories=categories).manifest.candidates


def test_every_case_is_measured_and_deep_enough(candidates: Candidates) -> None:
    cases = {"", "/long-history", "/short-history", "/new-user", "/filtered", "/cold-items", "/steered"}
    assert {f"recall@{SHOWN}{case}" for case in cases} <= set(candidates.recall)
    for name, value in candidates.recall.items():
        assert value is not None
        assert value >= (WANTED_STEERED_RECALL if "steered" in name else 0.995), name
    names = {f"{name}:{factor:g}" for name in [*MODALITIES, "item-item", *EXPERTS] for factor in STEERED_FACTORS}
    assert set(candidates.steered_depth) == names
    assert len(set(candidates.steered_depth.values())) > 1  # steering takes answers away from the index's order


@pytest.mark.parametrize("steer", ["behaviour:0", "visual:2", "textual:4", "dominant-visual:4", "item-item:0"])
def test_the_service_finds_of_a_steered_answer_what_is_stated(
    snapshot: Snapshot, candidates: Candidates, steer: str
) -> None:
    served = ServedSnapshot(snapshot)
    view, name, factor = View(served), *steer.split(":")
    factors = steering(served, {name: float(factor)})
    found = []
    for user_row in range(N_USERS):
        history = snapshot.history(user_row).astype(np.int64)
        if len(history) == 0:
            continue
        state = served.scorer.known_user(user_row)
        unseen = np.setdiff1d(np.arange(N_ITEMS), history)
        best = rank(view.score(state, unseen), factors, SHOWN).rows
        pool = gather(view, state, Filters(history), candidates.depth_for({name: float(factor)}), SHOWN)
        found.append(np.isin(best, pool).mean())
    assert np.mean(found) >= WANTED_STEERED_RECALL


def test_users_who_have_taken_everything_are_left_out(tmp_path: Path) -> None:
    """There is nothing that they could be recommended, so nothing to measure."""
    small = Store(tmp_path).open(write_tiny_pair_snapshot(tmp_path, n_items=50, n_users=20))
    draft = draft_like(small)
    pointer, items = draft.array("history_indptr"), draft.array("history_items")
    everything = np.arange(50, dtype=items.dtype)
    arrays = {
        **draft.arrays,
        "history_items": np.concatenate([everything, items[pointer[1] :]]),
        "history_indptr": np.concatenate([pointer[:1], pointer[1:] + 50 - pointer[1]]).astype(pointer.dtype),
    }
    categories = [small.item(row).categories for row in range(50)]
    manifest = measured(replace(draft, arrays=arrays), seed=0, categories=categories).manifest
    assert manifest.routing["users_measured"] == np.count_nonzero(np.diff(pointer)[1:])
    ManifestDraft.model_validate(manifest.model_dump())  # every mean is a number


def test_a_factor_in_between_takes_the_depth_of_the_next_more_extreme_one() -> None:
    measured_depths = {"visual:0": 800, "visual:0.5": 200, "visual:2": 300, "visual:4": 900}
    candidates = Candidates(depth=100, steered_depth=measured_depths)
    depths = {0.0: 800, 0.3: 800, 0.5: 200, 0.9: 200, 1.0: 100, 1.1: 300, 2.0: 300, 2.1: 900, 4.0: 900}
    assert {factor: candidates.depth_for({"visual": factor}) for factor in depths} == depths
    assert candidates.depth_for({"visual": 0.9, "textual": 2.0}) == 400  # four times as deep where nothing is known
    assert candidates.depth_for({}) == 100


def test_answers_are_drawn_from_these_depths(snapshot: Snapshot) -> None:
    served = ServedSnapshot(snapshot)
    assert served.depth_for({}) == MIN_DEPTH
    assert served.depth_for({"textual": 2.0}) == MIN_DEPTH  # 4 · 1, for lack of a measurement
    assert served.depth_for({"visual": 2.0}) == N_ITEMS  # as the manifest says
