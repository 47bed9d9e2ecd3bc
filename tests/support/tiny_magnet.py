"""MAGNET small enough to be fitted within a test: few steps, narrow vectors, yet every phase and both stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.dataset import Dataset
from training.data.splits import Split, everything, split_dataset
from training.fit.run import Run
from training.models.magnet.config import MagnetConfig
from training.models.magnet.fitted import FittedMagnet
from training.models.magnet.recipe import MagnetRecipe
from training.models.magnet.scored import Evidence

QUICK: Mapping[str, Any] = {
    "base": {
        "embedding_size": 8,
        "negatives": 32,
        "batch_size": 128,
        "max_steps": 20,
        "evaluate_every": 5,
        "patience": 2,
        "learning_rate": 0.02,
    },
    "router": {
        "steps": 40,
        "batch_users": 16,
        "candidates": 20,
        "expert_width": 4,
        "hidden": 4,
        "held_out": 0.2,
    },
    "entropy": {"min_steps": 5, "window": 5, "ramp": 5, "max_share": 0.25},
}


def quick_config(**changed: Any) -> MagnetConfig:
    """`QUICK` with whole entries replaced, or merged where both are tables."""
    merged = {
        key: {**QUICK.get(key, {}), **changed.get(key, {})} if isinstance(QUICK.get(key), dict) else changed[key]
        for key in {**QUICK, **changed}
    }
    return MagnetConfig.model_validate(merged)


@dataclass(frozen=True)
class Fit:
    """A fitted model and all that made it."""

    dataset: Dataset
    split: Split
    config: MagnetConfig
    fitted: FittedMagnet
    refitted: FittedMagnet
    interactions: Split
    directory: Path


def fit_magnet(dataset: Dataset, directory: Path, **changed: Any) -> Fit:
    """Fit on a random split, refit on everything."""
    config, split, run = quick_config(**changed), split_dataset(dataset, "random", seed=1), Run(directory, seed=3)
    fitted = MagnetRecipe().fit(dataset, split, config, run)
    interactions = everything(dataset, seed=1)
    refitted = MagnetRecipe().refit(fitted, dataset, interactions, config, run)
    assert isinstance(fitted, FittedMagnet)
    assert isinstance(refitted, FittedMagnet)
    return Fit(dataset, split, config, fitted, refitted, interactions, directory)


def plain_sum(evidence: Evidence, user_rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """(n, I): the base without a mixture, plus the item-item term; what a mixture starts from."""
    base = evidence.users[user_rows] @ evidence.base.candidates.T
    scores: NDArray[np.float32] = base + evidence.item_item_scores(user_rows).sum(axis=1)
    return scores
