"""Snapshots in memory whose amounts are known: one item-item term, split over the modalities as the test says.

Axes: `U` users, `I` items, `M` modalities.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_store.draft import SnapshotDraft
from model_store.manifest import Candidates, ManifestDraft, Modality, Term, Training
from training.data.demo.attributes import draw_attributes
from training.data.demo.choices import draw_choices, draw_users
from training.data.demo.plan import DemoPlan
from training.data.demo.truth import Truth


def planted_truth(*, seed: int, n_users: int, n_items: int) -> Truth:
    """A demo catalogue's truth, without pictures and texts."""
    plan = DemoPlan(seed=seed, n_users=n_users, n_items=n_items)
    items = draw_attributes(plan)
    users = draw_users(plan, items)
    ids = [f"u{row}" for row in range(n_users)], [f"i{row}" for row in range(n_items)]
    return Truth(plan, *ids, items, users, draw_choices(plan, items, users))


def item_item_draft(
    indptr: NDArray[np.int64], history: NDArray[np.integer[Any]], weights: Mapping[str, NDArray[np.floating[Any]]]
) -> SnapshotDraft:
    """A draft of the kind `item-item`, every weight kept.

    Args:
        indptr: (U + 1,) histories' offsets.
        history: item rows of all histories.
        weights: by modality, behaviour first, (I, I): what an item of the history gives to a candidate.

    """
    names = list(weights)
    n_items = len(weights[names[0]])
    manifest = ManifestDraft(
        model="planted",
        dataset="planted",
        scoring="item-item",
        embedding_size=0,
        modalities=tuple(Modality(name=name, kind="content" if at else "behaviour") for at, name in enumerate(names)),
        terms=(Term(name="item-item", role="base", modalities=dict.fromkeys(names, 1 / len(names))),),
        candidates=Candidates(depth=n_items),
        training=Training(seed=0),
    )
    arrays = {
        "popularity": np.bincount(history, minlength=n_items).astype(np.float32),
        "item_degree": np.bincount(history, minlength=n_items).astype(np.int32),
        "item_present": np.ones((n_items, len(names)), np.bool_),
        "history_indptr": indptr,
        "history_items": history.astype(np.int32),
        "item_item_indptr": (n_items * np.arange(n_items + 1)).astype(np.int64),
        "item_item_items": np.tile(np.arange(n_items), n_items).astype(np.int32),
        "item_item_values": np.stack([weights[name].ravel() for name in names], axis=1).astype(np.float32),
    }
    return SnapshotDraft(manifest, arrays, {})
