"""Content features in memory: one matrix per modality with a mask of what is missing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class FeatureMatrix:
    """One modality of all items."""

    name: str
    """"visual", "textual", or whatever the file is called before `_feat.npy`."""
    values: NDArray[np.float32]
    """(I, d); rows of missing items are zero."""
    present: NDArray[np.bool_]
    """(I,) False where the item has no features of this modality."""
    encoder: str | None = None
    """Hash of the content encoder that made the features, when known."""
