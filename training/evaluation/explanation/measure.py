"""Everything that is measured about a snapshot's explanations, for `metrics.json` and the manifest.

Axes: `I` items, `P` pairs, `M` modalities.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import JsonValue

from model_store.draft import SnapshotDraft
from model_store.scoring import scorer_for
from training.data.demo.truth import Truth
from training.errors import TrainingError
from training.evaluation.explanation.masking import Mask, batches, served_pairs
from training.evaluation.explanation.perturbation import Experiment, correlations
from training.evaluation.explanation.recovery import recovery
from training.evaluation.explanation.roles import role_check

logger = logging.getLogger(__name__)

PAIRS = 1_000
USERS = 400


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    pairs: int = PAIRS
    """Served pairs per modality."""
    users: int = USERS
    """Users whose lists the pairs are drawn from."""
    at_once: int | None = None
    """Items masked together, at most; by the catalogue's size where omitted."""


def explanation_quality(
    draft: SnapshotDraft,
    mask: Mask | None,
    *,
    seed: int,
    truth: Truth | None = None,
    user_ids: Sequence[str] = (),
    effort: Effort | None = None,
) -> dict[str, JsonValue]:
    """What is known about how far the snapshot's explanations hold; empty where nothing can be measured.

    Args:
        draft: what is served.
        mask: runs the model again without a modality of some items; None where the model cannot.
        seed: of all draws.
        truth: what was planted, on a demo catalogue.
        user_ids: of the draft's user rows; read with `truth` only.
        effort: how much is measured.

    """
    found: dict[str, JsonValue] = {}
    content = [modality.name for modality in draft.manifest.modalities if modality.kind == "content"]
    unmasked = mask(np.zeros(0, np.int64), content[0], rebuild=False) if mask is not None and content else None
    if mask is not None and unmasked is not None:
        rng = np.random.default_rng([seed, 23])
        found |= _perturbation(draft, Experiment(draft, mask, unmasked, rng), rng, effort or Effort())
    if truth is not None:
        try:
            found["recovery"] = recovery(scorer_for(draft), draft, user_ids, truth, seed=seed)
        except TrainingError as error:  # content was left out, or the truth is of other users
            logger.warning("recovery of the planted drivers is not measured: %s", error)
    return found


def _perturbation(
    draft: SnapshotDraft, experiment: Experiment, rng: np.random.Generator, effort: Effort
) -> dict[str, JsonValue]:
    """`perturbation`, with content graphs frozen and rebuilt, and `role_check`, with them frozen."""
    scorer = scorer_for(draft)
    known = np.flatnonzero(np.diff(draft.array("history_indptr"))).astype(np.int64)
    users = known if len(known) <= effort.users else np.sort(rng.choice(known, effort.users, replace=False))
    pairs = served_pairs(scorer, draft, users)
    chosen = {
        modality.name: list(
            batches(draft, pairs, draft.array("item_present")[:, m], rng, count=effort.pairs, at_once=effort.at_once)
        )
        for m, modality in enumerate(draft.manifest.modalities)
        if modality.kind == "content"
    }
    frozen, rebuilt = (
        {name: experiment.drops(name, found, rebuild=rebuild) for name, found in chosen.items()}
        for rebuild in (False, True)
    )
    result: dict[str, JsonValue] = {
        "perturbation": {
            "pairs": {name: len(drops.amounts) for name, drops in frozen.items()},
            "graph_frozen": correlations(frozen),
            "graph_rebuilt": correlations(rebuilt),
        }
    }
    experts = [term for term in scorer.terms if term.role != "base"]
    if experts:
        result["role_check"] = {name: role_check(experts, name, drops.moved) for name, drops in frozen.items()}
    return result
