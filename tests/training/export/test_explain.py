"""The manifest says how far explanations hold: what can be measured, and nothing else."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from model_store.draft import SnapshotDraft
from tests.support.planted import item_item_draft
from training.data.demo.catalogue import write_demo
from training.data.demo.choices import affinities
from training.data.demo.truth import FILE_NAME, Truth, read_truth
from training.export.explain import explained
from training.models.protocol import FittedModel, SnapshotContent


class OnlyArrays(FittedModel):
    """A model whose arrays stay what they are, if it offers them at all."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]] | None = None) -> None:
        self._arrays = arrays

    def score_block(self, user_rows: NDArray[np.int64]) -> NDArray[np.floating]:
        raise NotImplementedError

    def snapshot_content(self) -> SnapshotContent:
        raise NotImplementedError

    def masked(
        self,
        item_rows: NDArray[np.int64],
        modality: str,
        *,
        rebuild: bool,
        user_rows: NDArray[np.int64] | None = None,
    ) -> Mapping[str, NDArray[Any]] | None:
        return self._arrays


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("demo") / "data"
    write_demo(directory, seed=2, n_items=60, n_users=40)
    return directory


@pytest.fixture(scope="module")
def truth(demo: Path) -> Truth:
    return read_truth(demo)


@pytest.fixture(scope="module")
def draft(truth: Truth) -> SnapshotDraft:
    looks, description, standing = (table.T @ table for table in affinities(truth.items))
    weights = {"behaviour": standing, "visual": looks, "textual": description}
    return item_item_draft(truth.choices.offsets, truth.choices.item_row, weights)


def test_recovery_is_measured_where_the_truth_lies_beside_the_data(
    draft: SnapshotDraft, demo: Path, truth: Truth
) -> None:
    found: Any = explained(draft, OnlyArrays(), data=demo, user_ids=truth.user_ids, seed=0).manifest.explanation
    assert set(found) == {"recovery"}
    assert found["recovery"]["whole"] > found["recovery"]["chance"]


def test_perturbation_is_measured_where_the_model_runs_again(
    draft: SnapshotDraft, tmp_path: Path, truth: Truth
) -> None:
    model = OnlyArrays({"item_item_values": draft.arrays["item_item_values"]})
    found: Any = explained(draft, model, data=tmp_path, user_ids=truth.user_ids, seed=0).manifest.explanation
    assert set(found) == {"perturbation"}
    assert found["perturbation"]["graph_frozen"]["whole"] is None  # nothing dropped: a constant has no ranks


def test_a_damaged_truth_costs_the_recovery_and_nothing_else(
    draft: SnapshotDraft, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE_NAME).write_text("{")
    with caplog.at_level(logging.WARNING):
        assert explained(draft, OnlyArrays(), data=tmp_path, user_ids=[], seed=0).manifest.explanation == {}
    assert "the truth is left unused" in caplog.text
