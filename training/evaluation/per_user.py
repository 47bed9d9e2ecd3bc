"""Metrics of every user, kept beside a run's `metrics.json`, so that runs can be compared in pairs afterwards.

`per_user.npz` holds plain arrays named `<part>/<group>/user_rows` and `<part>/<group>/<metric>`; the group of all users
is `overall`, the others are the strata.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from training.errors import TrainingError
from training.evaluation.protocol import Evaluation, UserMetrics

FILE = "per_user.npz"
OVERALL = "overall"

Groups = dict[str, UserMetrics]


def save_per_user(directory: Path, parts: Mapping[str, Evaluation]) -> None:
    """Write `per_user.npz` for the parts `valid` and `test`."""
    arrays: dict[str, Any] = {}
    for part, evaluation in parts.items():
        for group, metrics in {OVERALL: evaluation.overall, **evaluation.strata}.items():
            arrays[f"{part}/{group}/user_rows"] = metrics.user_rows
            arrays |= {f"{part}/{group}/{name}": values for name, values in metrics.values.items()}
    with (directory / FILE).open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def load_per_user(directory: Path) -> dict[str, Groups]:
    """What `save_per_user` wrote: part, then group.

    Raises:
        TrainingError: the run has no such file, or a damaged one.

    """
    path = directory / FILE
    found: dict[str, dict[str, dict[str, np.ndarray]]] = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            for key in archive.files:
                part, group, name = key.split("/")
                found.setdefault(part, {}).setdefault(group, {})[name] = archive[key]
        return {
            part: {name: UserMetrics(group.pop("user_rows"), group) for name, group in groups.items()}
            for part, groups in found.items()
        }
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise TrainingError(
            f"expected the users' metrics in {path} (`magnet-train evaluate` writes them): {error}"
        ) from error
