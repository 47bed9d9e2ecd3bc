"""What a data set gives the recipe: content graphs, masks, and positives held out for the router.

Axes: `U` users, `I` items, `M` modalities (behaviour first).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from training.data.dataset import Dataset
from training.data.splits import Split
from training.graph.content import content_knn
from training.models.closed_form_search import MOST_USERS
from training.models.magnet.config import MagnetConfig


def presence(dataset: Dataset) -> NDArray[np.bool_]:
    """(I, M) which item has which modality; behaviour is always there, measured or inferred from neighbours."""
    columns = [np.ones(dataset.n_items, bool), *(matrix.present for matrix in dataset.features.values())]
    return np.stack(columns, axis=1)


def content_graphs(dataset: Dataset, config: MagnetConfig) -> dict[str, sparse.csr_array]:
    """The frozen content graph of every content modality."""
    return {
        name: content_knn(matrix.values, matrix.present, k=config.graph.neighbours, hub_cap=config.graph.hub_cap)
        for name, matrix in dataset.features.items()
    }


def hold_out(split: Split, share: float, seed: int) -> tuple[Split, sparse.csr_array]:
    """Take `share` of the positives of users and items that have more than two out of the training part.

    Whoever would lose all of them keeps the one that was drawn last: the base has to know every user and item of it.

    Returns:
        the split with the rest as its training part, and (U, I) what was held out.

    """
    train, rng = split.train, np.random.default_rng([seed, 3])
    users = np.repeat(np.arange(train.shape[0]), np.diff(train.indptr))
    items = train.indices
    many = (np.diff(train.indptr)[users] > 2) & (np.bincount(items, minlength=train.shape[1])[items] > 2)
    draws = rng.random(len(items))
    out = many & (draws < share)
    for owners in (users, items):
        emptied = np.bincount(owners) == np.bincount(owners[out], minlength=int(owners.max(initial=-1)) + 1)
        last_first = np.flatnonzero(out & emptied[owners])
        last_first = last_first[np.argsort(-draws[last_first])]
        out[last_first[np.unique(owners[last_first], return_index=True)[1]]] = False

    def matrix(chosen: NDArray[np.bool_]) -> sparse.csr_array:
        ones = np.ones(int(chosen.sum()), np.float32)
        return sparse.csr_array((ones, (users[chosen], items[chosen])), shape=train.shape)

    order = None if split.train_order is None else split.train_order[~out]
    return replace(split, train=matrix(~out), train_order=order), matrix(out)


def on_warm_items(split: Split) -> Split:
    """The split with validation positives on items with interactions alone.

    What is chosen about those items is chosen on them: how new ones are let in beside them is a choice of its own.
    """
    warm = np.bincount(split.train.indices, minlength=split.train.shape[1]) > 0
    valid = sparse.csr_array(split.valid * warm.astype(split.valid.dtype)[None, :])
    valid.eliminate_zeros()
    return replace(split, valid=valid)


def router_users(
    held_out: sparse.csr_array, valid: sparse.csr_array, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Users that a mixture is fitted on, and users that it is chosen on."""
    rng = np.random.default_rng([seed, 7])
    return some_users(held_out, rng), some_users(valid, rng)


def can_route(dataset: Dataset, held_out: sparse.csr_array, valid: sparse.csr_array) -> bool:
    """Whether there is more than one modality to route between, and somebody to learn it from and judge it by."""
    return bool(dataset.features and held_out.nnz and valid.nnz)


def some_users(positives: sparse.csr_array, rng: np.random.Generator) -> NDArray[np.int64]:
    """Users with a positive; a sample of them where there are very many."""
    rows = np.flatnonzero(np.diff(positives.indptr)).astype(np.int64)
    return rows if len(rows) <= MOST_USERS else np.sort(rng.choice(rows, MOST_USERS, replace=False))
