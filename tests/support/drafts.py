"""Fitted models as snapshots in memory, with what a model gives over exactly or as it is stored."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model_store.draft import SnapshotDraft
from model_store.manifest import Training
from training.data.dataset import Dataset
from training.data.splits import Split
from training.export.build import build_draft
from training.models.protocol import FittedModel, SnapshotContent

TRAINING = Training(seed=0)


class AskedOnce(FittedModel):
    """A model that says once what its snapshot holds: tracing graphs takes seconds."""

    def __init__(self, fitted: FittedModel) -> None:
        self._fitted, self._content = fitted, fitted.snapshot_content()

    def score_block(self, user_rows: NDArray[np.int64]) -> NDArray[np.floating]:
        """As the model."""
        return self._fitted.score_block(user_rows)

    def snapshot_content(self) -> SnapshotContent:
        """What it said."""
        return self._content


def draft_of(
    fitted: FittedModel, dataset: Dataset, interactions: Split, *, history_cap: int = 1000, half: bool = False
) -> tuple[SnapshotDraft, dict[str, bytes]]:
    """The draft and the model's own files; without `half` in full precision."""
    return build_draft(
        "tiny", fitted, dataset, interactions, history_cap=history_cap, metrics={}, training=TRAINING, half=half
    )


def assert_same_top(found: NDArray[np.floating], expected: NDArray[np.floating], *, k: int, tolerance: float) -> None:
    """The `k` best by `found` are `k` best by `expected`, ties within `tolerance` going either way; both (I,)."""
    chosen = np.argsort(-found, kind="stable")[:k]
    worst_of_best = np.sort(expected)[-k]
    assert (expected[chosen] >= worst_of_best - tolerance).all(), (chosen, expected[chosen], worst_of_best)
