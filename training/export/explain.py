"""How far a snapshot's explanations hold, measured on the very arrays that it stores, into its manifest."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from model_store.draft import SnapshotDraft
from training.data.demo.truth import FILE_NAME, Truth, read_truth
from training.errors import DatasetError
from training.evaluation.explanation.measure import explanation_quality
from training.models.protocol import FittedModel

logger = logging.getLogger(__name__)


def explained(
    draft: SnapshotDraft, fitted: FittedModel, *, data: Path, user_ids: Sequence[str], seed: int
) -> SnapshotDraft:
    """The draft with the measured quality of its explanations filled in.

    Args:
        draft: what is served.
        fitted: the model behind it.
        data: the dataset's directory; where the truth about a demo catalogue lies in it, recovery is measured too.
        user_ids: of the draft's user rows.
        seed: of all draws.

    """
    quality = explanation_quality(draft, fitted.masked, seed=seed, truth=_truth(data), user_ids=user_ids)
    return replace(draft, manifest=draft.manifest.model_copy(update={"explanation": quality}))


def _truth(data: Path) -> Truth | None:
    if not (data / FILE_NAME).exists():
        return None
    try:
        return read_truth(data)
    except DatasetError as error:
        logger.warning("the truth is left unused: %s", error)
        return None
