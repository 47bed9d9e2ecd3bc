"""One small catalogue as a random snapshot of every scoring kind, content features included.

Kinds that may have item-item evidence beside their own terms come a second time with it, as `plain beside item-item`.

Axes: `U` users, `I` items, `M` modalities, `D` width, `T` terms.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from model_store import ItemColumns, ManifestDraft, SnapshotWriter, Term
from model_store.manifest import Scoring
from model_store.snapshot import Snapshot
from model_store.store import Store
from tests.support.tiny_snapshot import MODALITIES, write_tiny_pair_snapshot

KINDS: tuple[str, ...] = (*get_args(Scoring), "plain beside item-item", "item beside item-item")
_PAIRS_OWN = ("item_parts", "item_logits", "item_experts", "user_logits", "user_vectors", "item_history")
_ITEM_ITEM = ("item_item_indptr", "item_item_items", "item_item_values")
_ID_ARRAYS = ("user_ids", "item_ids", "item_records", "categories", "category_")


def write_kind(root: Path, kind: str, changed: Mapping[str, NDArray[Any]] | None = None, *, n_items: int = 60) -> str:
    """Publish a snapshot of this kind, some of its arrays replaced; its id."""
    pair = Store(root).open(write_tiny_pair_snapshot(root, n_items=n_items))
    drafted = {name: getattr(pair.manifest, name) for name in ManifestDraft.model_fields}
    own = {name: pair.array(name) for name in pair.manifest.arrays if not name.startswith(_ID_ARRAYS)}
    scoring, _, beside = kind.partition(" beside ")
    terms, arrays, parameters = _content(scoring, pair, own)
    if beside:
        terms = (Term(name=beside, role="base", modalities={MODALITIES[0]: 1.0}), *terms)
        arrays |= {name: own[name] for name in _ITEM_ITEM}
    manifest = ManifestDraft.model_validate(
        drafted | {"scoring": scoring, "terms": terms, "model": f"tiny {kind}", "item_item": {}}
    )
    items = [pair.item(row) for row in range(pair.n_items)]
    with SnapshotWriter(root, manifest) as writer:
        writer.add_users([pair.user_id(row) for row in range(pair.n_users)])
        writer.add_items(
            ItemColumns(
                [item.item_id for item in items],
                [item.title for item in items],
                [item.categories for item in items],
                [item.description for item in items],
                [None] * len(items),
            )
        )
        for name, array in (arrays | dict(changed or {})).items():
            writer.add_array(name, array)
        writer.add_parameters(parameters)
        return writer.publish()


def _content(
    kind: str, pair: Snapshot, own: dict[str, NDArray[Any]]
) -> tuple[tuple[Term, ...], dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Terms, arrays and parameters."""
    rng = np.random.default_rng(5)
    n_items, width = pair.n_items, pair.manifest.embedding_size
    every = {name: array for name, array in own.items() if name not in (*_PAIRS_OWN, *_ITEM_ITEM)}
    means = {name: pair.parameter(name) for name in pair.parameters if name.startswith("feature_mean_")}
    base = Term(name="collaborative", role="base", modalities={MODALITIES[0]: 1.0})
    if kind == "pair":
        return pair.manifest.terms, own, {name: pair.parameter(name) for name in pair.parameters}
    if kind == "popularity":
        return (base,), every, means
    if kind == "item-item":
        return (base,), every | {name: own[name] for name in _ITEM_ITEM}, means
    linear = {"user_offset": rng.normal(size=width).astype(np.float32), "history_decay": np.array([0.9], np.float32)}
    vectors = every | {name: own[name] for name in ("item_history", "user_vectors")}
    if kind == "plain":
        parts = own["item_parts"]
        return (base,), vectors | {"item_vectors": parts.sum(axis=1), "item_parts": parts}, means | linear
    assert kind == "item", f"a scoring kind that this module does not know yet: {kind}"
    gates = np.concatenate([np.ones((n_items, 1)), rng.random((n_items, 2)).round()], axis=1)
    terms = (base, *(Term(name=name, role="modality", modalities={name: 1.0}) for name in MODALITIES[1:]))
    own_terms = {
        "item_term_vectors": rng.normal(size=(n_items, 3, width)).astype(np.float16),
        "item_gates": gates.astype(np.float16),
    }
    return terms, vectors | own_terms, means | linear
