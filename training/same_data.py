"""What a run's checkpoints were fitted on, kept beside them as digests: they never pass for a model of other data.

Data of the same shape draw another split, and so does another seed; a model would then be measured on positives that it
was fitted on. Of other content, a base that was fitted on the former would be joined by a router of the latter.
"""

from __future__ import annotations

import hashlib
import json
import logging

import numpy as np
from numpy.typing import NDArray

from training.config import ConfigError
from training.data.dataset import Dataset
from training.data.features import FeatureMatrix
from training.data.splits import Split
from training.fit.run import Run

logger = logging.getLogger(__name__)
FILE = "data.json"


def check_same_data(run: Run, dataset: Dataset, split: Split) -> None:
    """Hold the data against those of the checkpoints in the run's directory; a new run's are written down.

    What is fitted later, with the validation part or on everything, follows from the same parts and content.

    Raises:
        ConfigError: they differ, or what was written down is damaged.

    """
    path = run.checkpoints / FILE
    now = digests(dataset, split)
    if not path.exists():
        if run.resume and any(run.checkpoints.glob("*.pt")):
            logger.warning("%s says nothing of its data: whether they are still the same is not checked", run.directory)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
        partial.replace(path)
        return
    try:
        before = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"expected digests of a run's data in {path}, found a damaged file: {error}") from error
    if differing := [what for what in now | before if before.get(what) != now.get(what)]:
        raise ConfigError(
            f"expected the data that {run.directory} was fitted on, found others ({', '.join(differing)}): its "
            "checkpoints may know what is test now, and know no other content. Bring back the interactions, events, "
            "content, split and seed that it began with, or give a new run another --out"
        )


def digests(dataset: Dataset, split: Split) -> dict[str, str]:
    """A digest of the ids in row order, of each part of the split, and of each modality's content as it is trained on.

    The training part's is taken with its order in time, a modality's with the rows that are missing.
    """
    content = {f"{name} content": _of_features(matrix) for name, matrix in sorted(dataset.features.items())}
    return content | {
        "users": _of_ids(dataset.user_ids),
        "items": _of_ids(dataset.items.item_ids),
        "training part": _of_arrays(*split.history()),
        "validation part": _of_arrays(split.valid.indptr, split.valid.indices),
        "test part": _of_arrays(split.test.indptr, split.test.indices),
    }


def digest_of_test(dataset: Dataset, split: Split) -> str:
    """One digest of who is asked for what in the test, and out of which items."""
    asked = _of_arrays(split.test.indptr, split.test.indices)
    return hashlib.sha256(f"{_of_ids(dataset.user_ids)} {_of_ids(dataset.items.item_ids)} {asked}".encode()).hexdigest()


def _of_features(matrix: FeatureMatrix) -> str:
    found = hashlib.sha256(f"{matrix.values.shape}".encode() + matrix.present.tobytes())
    found.update(np.ascontiguousarray(matrix.values, dtype="<f4").data)
    return found.hexdigest()


def _of_ids(ids: list[str]) -> str:
    return hashlib.sha256(json.dumps(ids).encode()).hexdigest()


def _of_arrays(*arrays: NDArray[np.integer]) -> str:
    found = hashlib.sha256()
    for array in arrays:  # SciPy chooses the width of indices by itself
        found.update(f"{len(array)} ".encode() + array.astype("<i8").tobytes())
    return found.hexdigest()
