"""The groups of items and users for which results are shown, fixed before any model is fitted.

U users, I items. Popularity is the number of training interactions. Groups follow the data's own sizes, no constant is
fitted to a data set:

- `head`, `middle`, `tail`: items in order of popularity (ties by row), cut where they have gathered one third and two
  thirds of all training interactions, so that each holds about a third of what people do. [ours]
- `cold`: items without a training interaction; they belong to no other popularity group.
- `warm`: the other three together, to see what cold exposure costs them.
- `missing-modality`: items that lack at least one content modality.
- `short-history`, `long-history`: users with at most, or more than, the median number of training interactions of all
  users who have any.
- `no-history`, `some-history`: users without, or with, a training interaction; only where there are some without, as in
  splits by time, because otherwise the second is everybody.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

ITEM_STRATA = ("head", "middle", "tail", "cold", "warm", "missing-modality")
USER_STRATA = ("short-history", "long-history", "no-history", "some-history")


def item_strata(train: sparse.csr_array, present: Sequence[NDArray[np.bool_]] = ()) -> dict[str, NDArray[np.bool_]]:
    """(I,) mask per name of `ITEM_STRATA`.

    Args:
        train: (U, I) training interactions.
        present: (I,) per content modality, which items have it.

    """
    degree = np.bincount(train.indices, minlength=train.shape[1])
    order = np.argsort(-degree, kind="stable")
    gathered_before = np.empty(len(degree), dtype=np.float64)
    gathered_before[order] = np.cumsum(degree[order]) - degree[order]
    third = 3 * gathered_before / max(degree.sum(), 1)
    warm = degree > 0
    return {
        "head": warm & (third < 1),
        "middle": warm & (third >= 1) & (third < 2),
        "tail": warm & (third >= 2),
        "cold": ~warm,
        "warm": warm,
        "missing-modality": ~np.logical_and.reduce(list(present)) if present else np.zeros(len(degree), dtype=np.bool_),
    }


def user_strata(train: sparse.csr_array) -> dict[str, NDArray[np.bool_]]:
    """(U,) mask per name of `USER_STRATA`; users without training interactions have a short history."""
    length = np.diff(train.indptr)
    median = np.median(length[length > 0]) if (length > 0).any() else 0
    groups = {"short-history": length <= median, "long-history": length > median}
    return groups if length.all() else groups | {"no-history": length == 0, "some-history": length > 0}
