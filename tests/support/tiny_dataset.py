"""A dataset with something to learn, made on the spot: users like one kind of item, and content tells the kind.

Axes: `U` users, `I` items.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.dataset import Dataset
from training.data.features import FeatureMatrix
from training.data.interactions import Interactions
from training.data.items import ItemTable

KINDS = 4
N_COLD = 4
"""So many of the last items have no interactions at all, unless a test says otherwise."""
WIDTHS = {"visual": 6, "textual": 5, "acoustic": 7}
STEMS = {"visual": "image", "textual": "text"}


def tiny_dataset(
    modalities: Sequence[str] = ("visual", "textual"),
    *,
    n_users: int = 60,
    n_items: int = 40,
    n_cold: int = N_COLD,
    seed: int = 0,
) -> Dataset:
    """Times and categories, about a sixth of each modality's rows missing, the last `n_cold` items cold.

    Content modalities out of `WIDTHS`.
    """
    rng = np.random.default_rng(seed)
    kind, likes = rng.integers(0, KINDS, n_items), rng.integers(0, KINDS, n_users)
    takes = rng.random((n_users, n_items)) < 0.05 + 0.45 * (likes[:, None] == kind)
    takes[:, n_items - n_cold :] = False
    takes[np.arange(n_users), rng.integers(0, n_items - n_cold, n_users)] = True
    user_row, item_row = (rows.astype(np.int32) for rows in np.nonzero(takes))
    return Dataset(
        name="tiny",
        user_ids=[f"u{row}" for row in range(n_users)],
        items=ItemTable(
            item_ids=[f"i{row}" for row in range(n_items)],
            titles=[f"Thing {row}" for row in range(n_items)],
            categories=[(f"kind {row}",) for row in kind],
            descriptions=[None] * n_items,
            images=[None] * n_items,
        ),
        interactions=Interactions(user_row, item_row, timestamp=1e9 + 1000.0 * rng.random(len(user_row))),
        features={name: _features(name, kind, rng) for name in modalities},
    )


def _features(name: str, kind: NDArray[np.int64], rng: np.random.Generator) -> FeatureMatrix:
    centres = rng.normal(size=(KINDS, WIDTHS.get(name, 5)))
    values = (centres[kind] + 0.4 * rng.normal(size=(len(kind), WIDTHS.get(name, 5)))).astype(np.float32)
    present = rng.random(len(kind)) > 1 / 6
    values[~present] = 0
    return FeatureMatrix(name, values, present)


def write_dataset(directory: Path, dataset: Dataset) -> Path:
    """The same as files: an `.inter`, an item table, feature arrays; returns the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    times = dataset.interactions.timestamp
    assert times is not None
    lines = ["user_id:token\titem_id:token\ttimestamp:float"]
    for user, item, time in zip(dataset.interactions.user_row, dataset.interactions.item_row, times, strict=True):
        lines.append(f"{dataset.user_ids[user]}\t{dataset.items.item_ids[item]}\t{time}")
    (directory / f"{dataset.name}.inter").write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows = zip(dataset.items.item_ids, dataset.items.titles, dataset.items.categories, strict=True)
    table = ["item_id,title,categories", *(f"{item},{title},{'|'.join(names)}" for item, title, names in rows)]
    (directory / "items.csv").write_text("\n".join(table) + "\n", encoding="utf-8")
    for name, matrix in dataset.features.items():
        np.save(directory / f"{STEMS.get(name, name)}_feat.npy", matrix.values)
    return directory
