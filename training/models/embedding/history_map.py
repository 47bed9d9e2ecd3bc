"""The linear form of a user that comes closest to a free table of users.

Axes: `U` users, `I` items, `D` width. `model_store.scoring.linear_user` serves `u = c + Σ_j w_j Q_j`; here `Q = V A`
with the item vectors V (I, D); A (D, D) and c (D,) are the ridge regression of the trained users on their histories:

    min Σ_u ‖ u − c − (Σ_j w_j v_j) A ‖² + λ ‖A‖²

Our choice, in place of solving one regression per asking user: it costs a sum at serving time, every item of the
history has an exact share in the score, and the scale is that of the users whom the model knows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from model_store.scoring.linear_user import history_weights
from training.data.splits import Split

RELATIVE_RIDGE = 1e-3
"""λ as a share of the mean variance of the regressors."""


@dataclass(frozen=True)
class HistoryMap:
    """`Q` (I, D) and `c` (D,), with `ρ` and the share of the users' variance that they explain."""

    items: NDArray[np.float32]
    offset: NDArray[np.float32]
    decay: float
    explained: float


def weighted_histories(split: Split, cap: int, decay: float) -> sparse.csr_array:
    """(U, I) the weights `w_j` of every user's last `cap` items."""
    indptr, items = split.history()
    lengths = np.minimum(np.diff(indptr), cap)
    entries = np.concatenate(
        [np.arange(stop - n, stop) for stop, n in zip(indptr[1:], lengths, strict=True)] or [np.zeros(0, np.int64)]
    ).astype(np.int64)
    by_length = {int(n): history_weights(int(n), decay) for n in np.unique(lengths)}
    weights = np.concatenate([by_length[int(n)] for n in lengths] or [np.zeros(0)])
    owner = np.repeat(np.arange(len(lengths)), lengths)
    return sparse.csr_array((weights.astype(np.float32), (owner, items[entries])), shape=split.train.shape)


def fit_history_map(
    users: NDArray[np.float32], items: NDArray[np.float32], split: Split, *, cap: int, decay: float = 1.0
) -> HistoryMap:
    """Regress the users (U, D) who have a history on the items (I, D) in it."""
    histories = weighted_histories(split, cap, decay)
    known = np.diff(histories.indptr) > 0
    if not known.any():
        return HistoryMap(np.zeros_like(items), np.zeros(items.shape[1], np.float32), decay, 0.0)
    inputs = (histories @ items)[known].astype(np.float64)
    wanted = users[known].astype(np.float64)
    input_mean, wanted_mean = inputs.mean(axis=0), wanted.mean(axis=0)
    inputs, centred = inputs - input_mean, wanted - wanted_mean
    gram = inputs.T @ inputs
    ridge = max(RELATIVE_RIDGE * float(np.trace(gram)) / len(gram), 1e-12)
    solution = np.linalg.solve(gram + ridge * np.eye(len(gram)), inputs.T @ centred)
    left = np.square(centred - inputs @ solution).sum()
    return HistoryMap(
        items=(items @ solution).astype(np.float32),
        offset=(wanted_mean - input_mean @ solution).astype(np.float32),
        decay=decay,
        explained=float(1 - left / max(float(np.square(centred).sum()), 1e-12)),
    )
