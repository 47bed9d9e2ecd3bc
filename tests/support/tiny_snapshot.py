"""Small, valid, random snapshots for tests of whatever reads snapshots or keeps them.

Axes: `U` users, `I` items, `M` modalities, `D` width, `E` experts, `W` residual width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from model_store import Candidates, ItemColumns, ManifestDraft, Modality, SnapshotWriter, Term, Training
from model_store.draft import SnapshotDraft
from model_store.scoring.pair import PairScorer

MODALITIES = ("behaviour", "visual", "textual")
EXPERTS = tuple(f"{role}-{name}" for role in ("dominant", "balanced", "complementary") for name in MODALITIES)
HIDDEN = 8
FEATURE_WIDTH = 6
NEIGHBOURS = 10


@dataclass(frozen=True)
class TinyCatalogue:
    """What the snapshot will say about people and items."""

    user_ids: list[str]
    items: ItemColumns
    histories: list[NDArray[np.int32]]


def tiny_catalogue(rng: np.random.Generator, n_users: int, n_items: int) -> TinyCatalogue:
    """Ids with slashes and letters beyond ASCII; the last user has no history, some items lack text or picture."""
    return TinyCatalogue(
        user_ids=[f"user/{row:03d}" if row % 3 else f"usér-{row:03d}" for row in range(n_users)],
        items=ItemColumns(
            item_ids=[f"item/{row:03d}" if row % 3 else f"ïtem-{row:03d}" for row in range(n_items)],
            titles=[f"Thing number {row}" if row % 7 else None for row in range(n_items)],
            categories=[(("red", "green", "blue")[row % 3], f"shelf {row % 5}") for row in range(n_items)],
            descriptions=[f"A thing of kind {row % 4}, numbered {row}." if row % 5 else None for row in range(n_items)],
            images=[None] * n_items,
        ),
        histories=[
            rng.choice(n_items, size=0 if row == n_users - 1 else rng.integers(2, 9), replace=False).astype(np.int32)
            for row in range(n_users)
        ],
    )


def write_tiny_pair_snapshot(
    root: Path,
    *,
    seed: int = 0,
    n_users: int = 20,
    n_items: int = 50,
    embedding_size: int = 8,
    residual_width: int = 4,
    top_k_experts: int = 3,
    history_cap: int = 50,
    depth: int | None = None,
    item_item: bool = True,
    routed: bool = False,
    item_item_facts: Mapping[str, JsonValue] | None = None,
    files: Mapping[str, bytes] | None = None,
    encoders: Mapping[str, str] | None = None,
    feature_widths: Mapping[str, int] | None = None,
    model: str = "magnet",
) -> str:
    """Publish the snapshot into the store at `root`, without promoting it; its id, the same for the same arguments.

    `routed` leaves the item-item evidence to the experts; otherwise it is a base term beside them.
    """
    rng = np.random.default_rng(seed)
    catalogue = tiny_catalogue(rng, n_users, n_items)
    base = [Term(name="item-item", role="base", modalities=dict(zip(MODALITIES, (0.9, 0.02, 0.08), strict=True)))]
    template = _templates()
    widths = dict.fromkeys(MODALITIES[1:], FEATURE_WIDTH) | dict(feature_widths or {})
    draft = ManifestDraft(
        model=model,
        dataset=f"tiny-{seed}",
        scoring="pair",
        embedding_size=embedding_size,
        modalities=(
            Modality(name="behaviour", kind="behaviour"),
            *(
                Modality(name=name, kind="content", feature_width=widths[name], encoder=(encoders or {}).get(name))
                for name in MODALITIES[1:]
            ),
        ),
        terms=tuple(
            [*(base if item_item and not routed else [])]
            + [
                Term(name=name, role=_role(name), modalities=dict(zip(MODALITIES, map(float, shares), strict=True)))
                for name, shares in zip(EXPERTS, template, strict=True)
            ]
        ),
        top_k_experts=top_k_experts,
        history_cap=history_cap,
        candidates=Candidates(depth=depth or n_items, recall={"recall@20": 1.0}, steered_depth={"visual:2": n_items}),
        metrics={"test": {"recall@20": 0.1}},
        explanation={"spearman": 0.9},
        routed_variance_share=0.5,
        routing={"users_measured": 3.0, "mean_weight": {EXPERTS[0]: 0.7}, "share_of_pairs": {EXPERTS[0]: 0.9}},
        item_item=dict(item_item_facts or {}),
        training=Training(seed=seed),
    )
    with SnapshotWriter(root, draft) as writer:
        writer.add_users(catalogue.user_ids)
        writer.add_items(catalogue.items)
        arrays = _item_arrays(rng, catalogue, embedding_size, residual_width)
        if item_item:
            arrays |= _item_item_arrays(rng, n_items)
        parameters = _parameters(rng, arrays, template, embedding_size, residual_width)
        arrays |= _user_arrays(arrays, parameters, catalogue, draft)
        for name, array in arrays.items():
            writer.add_array(name, array)
        features, means = _features(np.random.default_rng(seed), arrays["item_present"], widths)
        for name, array in features.items():
            writer.add_array(name, array)
        writer.add_parameters(parameters | means)
        for name, content in {"report.html": b"<!doctype html><title>tiny</title>", **(files or {})}.items():
            writer.add_file(name, content)
        return writer.publish()


def write_tiny_popularity_snapshot(root: Path, *, seed: int = 0, n_users: int = 4, n_items: int = 6) -> str:
    """As `write_tiny_pair_snapshot`, of the smallest kind: for tests that care for files and not for scores."""
    rng = np.random.default_rng(seed)
    catalogue = tiny_catalogue(rng, n_users, max(n_items, 9))
    with SnapshotWriter(root, popularity_draft(seed)) as writer:
        fill_popularity(writer, catalogue)
        return writer.publish()


def popularity_draft(seed: int = 0) -> ManifestDraft:
    """The draft of a `popularity` snapshot."""
    return ManifestDraft(
        model="popularity",
        dataset=f"tiny-{seed}",
        scoring="popularity",
        embedding_size=0,
        modalities=(Modality(name="behaviour", kind="behaviour"),),
        terms=(Term(name="popularity", role="base", modalities={"behaviour": 1.0}),),
        candidates=Candidates(depth=20),
        training=Training(seed=seed),
    )


def fill_popularity(writer: SnapshotWriter, catalogue: TinyCatalogue) -> None:
    """Everything that a `popularity` snapshot has to have."""
    writer.add_users(catalogue.user_ids)
    writer.add_items(catalogue.items)
    for name, array in _behaviour_arrays(catalogue).items():
        writer.add_array(name, array)
    writer.add_array("item_present", np.ones((len(catalogue.items.item_ids), 1), np.bool_))


def _behaviour_arrays(catalogue: TinyCatalogue) -> dict[str, NDArray[Any]]:
    rows, n = np.concatenate(catalogue.histories), len(catalogue.items.item_ids)
    return {
        "item_degree": np.bincount(rows, minlength=n).astype(np.int32),
        "popularity": np.bincount(rows, minlength=n).astype(np.float32),
        "history_indptr": np.concatenate(([0], np.cumsum([len(h) for h in catalogue.histories]))).astype(np.int64),
        "history_items": rows.astype(np.int32),
    }


def _role(name: str) -> Any:
    return name.partition("-")[0]


def _templates() -> NDArray[np.float32]:
    """(E, M), as in the specification's section 4."""
    eye = np.eye(3, dtype=np.float32)
    dominant = 0.15 + 0.55 * eye
    balanced = 0.45 - 0.35 * eye
    complementary = 0.5 - 0.5 * eye
    return np.concatenate([dominant, balanced, complementary])


def _item_arrays(
    rng: np.random.Generator, catalogue: TinyCatalogue, width: int, residual_width: int
) -> dict[str, NDArray[Any]]:
    n, m = len(catalogue.items.item_ids), len(MODALITIES)
    present = rng.random((n, m)) > 0.15
    present[:, 0] = True
    parts = rng.normal(0, 1 / np.sqrt(m * width), (n, m, width)) * present[:, :, None]
    arrays: dict[str, NDArray[Any]] = {
        "item_parts": parts.astype(np.float16),
        "item_history": (parts.sum(1) + rng.normal(0, 0.1, (n, width))).astype(np.float16),
        "item_logits": rng.normal(0, 0.5, (n, len(EXPERTS))).astype(np.float16),
        "item_experts": rng.normal(0, 0.3, (n, len(EXPERTS), residual_width)).astype(np.float16),
        "item_present": present,
        **_behaviour_arrays(catalogue),
    }
    for index, name in enumerate(MODALITIES):
        vectors = parts[:, index] / np.maximum(np.linalg.norm(parts[:, index], axis=1, keepdims=True), 1e-9)
        similarity = vectors @ vectors.T
        np.fill_diagonal(similarity, -np.inf)
        nearest = np.argsort(-similarity, axis=1)[:, :NEIGHBOURS]
        values = np.take_along_axis(similarity, nearest, axis=1)
        none = ~present[:, index : index + 1] | ~present[nearest, index]
        arrays[f"neighbours_{name}_items"] = np.where(none, -1, nearest).astype(np.int32)
        arrays[f"neighbours_{name}_values"] = np.where(none, 0, values).astype(np.float16)
    return arrays


def _item_item_arrays(rng: np.random.Generator, n_items: int) -> dict[str, NDArray[Any]]:
    rows = [np.sort(rng.choice(n_items, size=5, replace=False)) for _ in range(n_items)]
    return {
        "item_item_indptr": (5 * np.arange(n_items + 1)).astype(np.int64),
        "item_item_items": np.concatenate(rows).astype(np.int32),
        "item_item_values": (rng.random((5 * n_items, 3)) * (0.5, 0.1, 0.1)).astype(np.float16),
    }


def _parameters(
    rng: np.random.Generator,
    arrays: dict[str, NDArray[Any]],
    template: NDArray[np.float32],
    width: int,
    residual_width: int,
) -> dict[str, NDArray[Any]]:
    e, m = template.shape
    parts = arrays["item_parts"].astype(np.float32)
    features = 1 + 2 * m
    total = parts.sum(1)
    parameters = {
        "expert_mix": template * rng.uniform(0.8, 1.2, template.shape),
        "expert_gain": rng.uniform(0.5, 1.5, e),
        "expert_template": template,
        "residual_maps": rng.normal(0, 0.2, (m, m, width, width)),
        "pair_weights": rng.normal(0, 0.5, (e, m)),
        "part_mean": parts.mean(0),
        "part_covariance": np.stack([np.cov(parts[:, index].T) for index in range(m)]),
        "part_with_total": np.stack(
            [(parts[:, index] - parts[:, index].mean(0)).T @ (total - total.mean(0)) / len(parts) for index in range(m)]
        ),
        "expert_maps": rng.normal(0, 0.5, (e, width, residual_width)),
        "expert_scale": rng.uniform(0.1, 0.5, e),
        "user_router_mean": rng.normal(0, 0.2, features),
        "user_router_scale": rng.uniform(0.5, 1.5, features),
        "user_router_w1": rng.normal(0, 0.4, (features, HIDDEN)),
        "user_router_b1": rng.normal(0, 0.1, HIDDEN),
        "user_router_w2": rng.normal(0, 0.4, (HIDDEN, e)),
        "user_router_b2": rng.normal(0, 0.1, e),
    }
    removes = np.array([-1] * 6 + [0, 1, 2], np.int32)
    return {name: value.astype(np.float32) for name, value in parameters.items()} | {
        "expert_removes": removes,
        "members": np.array([1], np.int32),
    }


def _features(
    rng: np.random.Generator, present: NDArray[np.bool_], widths: Mapping[str, int]
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Centred unit feature rows (I, d) per content modality, and what they were centred by (d,)."""
    features: dict[str, NDArray[Any]] = {}
    means: dict[str, NDArray[Any]] = {}
    for index, name in enumerate(MODALITIES[1:], start=1):
        raw = rng.normal(0.3, 1, (len(present), widths[name])).astype(np.float32)
        means[f"feature_mean_{name}"] = mean = raw.mean(0)
        centred = (raw - mean) * present[:, index : index + 1]
        norms = np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)
        features[f"features_{name}"] = (centred / norms).astype(np.float16)
    return features, means


def _user_arrays(
    arrays: dict[str, NDArray[Any]],
    parameters: dict[str, NDArray[Any]],
    catalogue: TinyCatalogue,
    draft: ManifestDraft,
) -> dict[str, NDArray[Any]]:
    """`user_vectors` (U, D) and `user_logits` (U, E), by the scorer's own `encode_user`."""
    scorer = PairScorer(SnapshotDraft(draft, arrays, parameters))
    states = [scorer.encode_user(history) for history in catalogue.histories]
    return {
        "user_vectors": np.stack([state.vector for state in states]).astype(np.float16),
        "user_logits": np.stack([state.logits for state in states]).astype(np.float16),
    }
