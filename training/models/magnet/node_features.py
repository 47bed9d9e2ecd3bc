"""What the router knows of a user and of an item.

Axes: `U` users, `I` items, `M` modalities, `D` width. The user's features are those of `PairScorer.user_features`, for
many users at once; the item's exist for new items too (degree 0).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

F32 = NDArray[np.float32]
OF_DEGREE = 2
"""How many of an item's features tell its degree; they come first."""


def user_features(interactions: sparse.csr_array, parts: F32, present: NDArray[np.bool_]) -> F32:
    """(U, 1 + 2M): log length, coherence of the history per modality, share of the history that has the modality."""
    length = np.diff(interactions.indptr).astype(np.float64)
    coherence, share = [], []
    for m in range(parts.shape[1]):
        norms = np.linalg.norm(parts[:, m], axis=1, keepdims=True)
        units = np.where(present[:, m, None], parts[:, m] / np.maximum(norms, 1e-12), 0.0).astype(np.float32)
        count = np.asarray(interactions @ present[:, m].astype(np.float32), dtype=np.float64)
        pairs = count * (count - 1)
        total = np.square(np.asarray(interactions @ units, dtype=np.float64)).sum(axis=1)
        coherence.append(np.where(pairs > 0, (total - count) / np.maximum(pairs, 1.0), 0.0))
        share.append(count / np.maximum(length, 1))
    return np.stack([np.log1p(length), *coherence, *share], axis=1).astype(np.float32)


def item_features(degree: NDArray[np.integer] | F32, present: NDArray[np.bool_]) -> F32:
    """(I, 1 + M): log degree, its square, and which content modalities the item has.

    The router reads what tells the degree. What an item says, or lacks, reaches it through the pair's cues alone: gates
    that also read the lengths of the item's parts and the angles between them moved whenever a modality was masked,
    which no amount can show, and ranked no better (training/LOG.md). The masks are there for the control `reads =
    "item"`. Nor is there a flag of items without interactions: none of them is ever a positive that the router is
    fitted on, so what it did to their gates would be chance.
    """
    log_degree = np.log1p(np.asarray(degree, dtype=np.float64))
    columns = [log_degree, np.square(log_degree) / 10, *present.T[1:]]
    return np.stack([np.asarray(column, dtype=np.float32) for column in columns], axis=1)
