"""Distinct positives: what is left of the interactions when every (user, item) pair counts once."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.data.dataset import Dataset

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Positives:
    """N distinct positives, sorted by (user, item)."""

    user_row: NDArray[np.int32]
    item_row: NDArray[np.int32]
    order: NDArray[np.int64]  # (N,) rank by (timestamp, place in the file); by place alone where there are no times
    timestamp: NDArray[np.float64] | None
    given_split: NDArray[np.int8] | None
    n_users: int
    n_items: int
    duplicates: int


def merge_duplicates(dataset: Dataset) -> Positives:
    """Keep the latest interaction of every (user, item) pair, the last in the file among equal or absent times."""
    given = dataset.interactions
    count = len(given)
    place = np.arange(count)
    by_time = place if given.timestamp is None else np.lexsort((place, given.timestamp))
    order = np.empty(count, dtype=np.int64)
    order[by_time] = place
    pair = given.user_row.astype(np.int64) * dataset.n_items + given.item_row
    by_pair = np.lexsort((order, pair))
    last_of_pair = np.append(np.diff(pair[by_pair]) > 0, True)[:count]
    kept = by_pair[last_of_pair]
    duplicates = count - len(kept)
    if duplicates:
        logger.info("%s: %d repeated interactions merged into the latest of their pair", dataset.name, duplicates)
    return Positives(
        user_row=given.user_row[kept],
        item_row=given.item_row[kept],
        order=order[kept],
        timestamp=None if given.timestamp is None else given.timestamp[kept],
        given_split=None if given.given_split is None else given.given_split[kept],
        n_users=dataset.n_users,
        n_items=dataset.n_items,
        duplicates=duplicates,
    )
