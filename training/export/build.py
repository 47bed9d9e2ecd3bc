"""What every snapshot holds, and what its model adds: a draft in memory.

Axes: `U` users, `I` items, `M` modalities (behaviour first), `k` neighbours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_store.draft import SnapshotDraft
from model_store.layout import rule_for
from model_store.manifest import Candidates, ManifestDraft, Modality, Training
from training.data.dataset import Dataset
from training.data.features import FeatureMatrix
from training.data.splits import Split
from training.graph.content import centred_unit_rows, neighbour_lists
from training.graph.together import together_lists
from training.models.protocol import FittedModel

NEIGHBOURS = 10
# Half of an interaction's weight in `popularity` is gone after this share of the time that the data span.
POPULARITY_HALF_LIFE = 0.25


def build_draft(
    model_name: str,
    fitted: FittedModel,
    dataset: Dataset,
    interactions: Split,
    *,
    history_cap: int,
    metrics: dict[str, dict[str, float | None]],
    training: Training,
    half: bool = True,
) -> tuple[SnapshotDraft, dict[str, bytes]]:
    """The snapshot's arrays and manifest before anything is measured on them, and the model's own files.

    Args:
        model_name: as `--model` takes it.
        fitted: the model to serve, fitted on `interactions.train`.
        dataset: ids, item table, features.
        interactions: everything that counts as seen.
        history_cap: how many items of a history the model reads.
        metrics: measured quality by part.
        training: seed and configuration.
        half: whether arrays that may be stored in half precision are; without, the draft scores as the model does.

    """
    content = fitted.snapshot_content()
    indptr, history = interactions.history()
    present = [np.ones(dataset.n_items, bool), *(matrix.present for matrix in dataset.features.values())]
    arrays: dict[str, NDArray[Any]] = {
        "popularity": popularity(dataset, interactions),
        "item_degree": np.bincount(history, minlength=dataset.n_items).astype(np.int32),
        "item_present": np.stack(present, axis=1),
        "history_indptr": indptr,
        "history_items": history,
        **content.arrays,
    }
    neighbours = {"behaviour": together_lists(indptr, history, dataset.n_items, k=NEIGHBOURS)}
    for name, matrix in dataset.features.items():
        neighbours[name] = neighbour_lists(matrix.values, matrix.present, k=NEIGHBOURS)
        # new items find their neighbours among these
        arrays[f"features_{name}"] = centred_unit_rows(matrix.values, matrix.present)[0]
    for name, lists in neighbours.items():
        arrays[f"neighbours_{name}_items"] = lists.items
        arrays[f"neighbours_{name}_values"] = lists.values
    manifest = ManifestDraft(
        model=model_name,
        dataset=dataset.name,
        scoring=content.scoring,
        embedding_size=content.embedding_size,
        modalities=(
            Modality(name="behaviour", kind="behaviour"),
            *(
                Modality(name=name, kind="content", encoder=matrix.encoder, feature_width=matrix.values.shape[1])
                for name, matrix in dataset.features.items()
            ),
        ),
        terms=content.terms,
        top_k_experts=content.top_k_experts,
        history_cap=history_cap,
        candidates=Candidates(depth=1),
        metrics=metrics,
        # how long it took is no property of the snapshot: the same run has the same id
        item_item={name: value for name, value in content.item_item.items() if name != "seconds"},
        training=training,
    )
    if half:
        arrays = {name: _in_half(name, array, manifest) for name, array in arrays.items()}
    means = {f"feature_mean_{name}": feature_mean(matrix) for name, matrix in dataset.features.items()}
    return SnapshotDraft(manifest, arrays, {**content.parameters, **means}), dict(content.files)


def _in_half(name: str, array: NDArray[Any], manifest: ManifestDraft) -> NDArray[Any]:
    rule = rule_for(name, manifest)
    return array.astype(np.float16) if rule is not None and "<f2" in rule.dtypes else array


def feature_mean(matrix: FeatureMatrix) -> NDArray[np.float32]:
    """(d,) what features are centred by before cosines are taken; new items need it too."""
    known = matrix.values[matrix.present]
    return (
        known.mean(axis=0, dtype=np.float64).astype(np.float32)
        if len(known)
        else np.zeros(matrix.values.shape[1], np.float32)
    )


def popularity(dataset: Dataset, seen: Split) -> NDArray[np.float32]:
    """(I,) training interactions per item; where there are times, recent ones count more (exponential decay, our own).

    What `seen` keeps for validation and test counts for nothing: a snapshot to be evaluated does not know it.
    """
    indptr, items = seen.history()
    users = np.repeat(np.arange(dataset.n_users, dtype=np.int64), np.diff(indptr))
    interactions = dataset.interactions
    counted = np.isin(
        interactions.user_row.astype(np.int64) * dataset.n_items + interactions.item_row,
        users * dataset.n_items + items,
    )
    weights = counted.astype(np.float64)
    if interactions.timestamp is not None and counted.any():
        times = interactions.timestamp[counted]
        age = times.max() - times
        weights[counted] = 0.5 ** (age / max(float(age.max()) * POPULARITY_HALF_LIFE, 1e-9))
    return np.bincount(interactions.item_row, weights=weights, minlength=dataset.n_items).astype(np.float32)
