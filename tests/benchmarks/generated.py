"""Generated snapshots of any size for benchmarks: streamed to disk block by block, random in content, real in shape.

Axes: `U` users, `I` items, `M` modalities, `D` width, `E` experts, `W` residual width. What follows trained snapshots
(Amazon Baby, default settings): widths, histories (5 items at least, 8.3 on average), item-item rows, nine experts of
which three count, and vectors that gather around directions, for an index over unclustered noise says nothing about one
over items.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_store import Candidates, ItemColumns, ManifestDraft, Modality, SnapshotWriter, Store, Term, Training
from model_store.half import widened
from model_store.snapshot import CANDIDATE_INDEX_FILE
from training.export.candidate_index import FLAT_UP_TO, INDEX_RECALL, build_candidate_index
from training.models.magnet.config import BaseConfig

MODALITIES = ("behaviour", "visual", "textual")
ROLES = ("dominant", "balanced", "complementary")
EXPERTS = tuple(f"{role}-{name}" for role in ROLES for name in MODALITIES)
WIDTH, RESIDUAL, HIDDEN, TOP_K = BaseConfig().embedding_size, 16, 16, 3
BLOCK = 50_000
MEAN_EXTRA_HISTORY = 3.3
SHORTEST_HISTORY = 5
SAMPLED_USERS = 200
DENSE_ROWS, SPARSE_ROWS, DENSE_UP_TO = 200, 50, 20_000
F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Size:
    """How large a generated catalogue is."""

    items: int
    users: int
    depth: int = 100

    @property
    def name(self) -> str:
        """As in a folder's name."""
        return f"{self.items}x{self.users}"


def user_id(row: int) -> str:
    """As long as an Amazon id."""
    return f"A{row:013d}"


def snapshot(root: Path, size: Size, *, seed: int = 0) -> str:
    """Publish and promote the generated snapshot in the store at `root`; its id. One that is there is used again."""
    store = Store(root)
    if (current := store.current()) is not None and seed == 0:
        return current
    rng = np.random.default_rng([seed, size.items, size.users])
    with SnapshotWriter(root, _draft(size, seed)) as writer:
        _write(writer, size, rng)
        published = writer.publish()
    store.promote(published)
    return published


def _draft(size: Size, seed: int) -> ManifestDraft:
    templates = _templates()
    base = Term(name="item-item", role="base", modalities={"behaviour": 0.9, "visual": 0.02, "textual": 0.08})
    experts = [
        Term.model_validate(
            {"name": name, "role": name.partition("-")[0], "modalities": dict(zip(MODALITIES, shares, strict=True))}
        )
        for name, shares in zip(EXPERTS, templates.round(6).tolist(), strict=True)
    ]
    return ManifestDraft(
        model="magnet",
        dataset=f"generated-{size.name}",
        scoring="pair",
        embedding_size=WIDTH,
        modalities=(
            Modality(name="behaviour", kind="behaviour"),
            *(Modality(name=name, kind="content") for name in MODALITIES[1:]),
        ),
        terms=(base, *experts),
        top_k_experts=TOP_K,
        history_cap=512,
        candidates=Candidates(depth=size.depth),
        training=Training(seed=seed),
    )


def _write(writer: SnapshotWriter, size: Size, rng: np.random.Generator) -> None:
    writer.add_users([user_id(row) for row in range(size.users)])
    writer.add_items(
        ItemColumns(
            item_ids=[f"B{row:09d}" for row in range(size.items)],
            titles=[f"Generated thing number {row}, as long as most titles" for row in range(size.items)],
            categories=[(f"shelf {row % 97}",) for row in range(size.items)],
            descriptions=[None] * size.items,
            images=[f"{row:064x}" for row in range(size.items)],
        )
    )
    parts = writer.stream_array("item_parts", np.float16, (size.items, len(MODALITIES), WIDTH))
    history = writer.stream_array("item_history", np.float16, (size.items, WIDTH))
    experts = writer.stream_array("item_experts", np.float16, (size.items, len(EXPERTS), RESIDUAL))
    logits = writer.stream_array("item_logits", np.float16, (size.items, len(EXPERTS)))
    groups = _group_count(size)
    centres = _directions(rng, (groups, len(MODALITIES), WIDTH))
    for rows in _blocks(size.items):
        own = centres[np.arange(rows.start, rows.stop) % groups]
        block = 0.8 * own + 0.6 * _directions(rng, own.shape)
        parts[rows] = block
        history[rows] = block.sum(axis=1) + 0.3 * _directions(rng, (len(block), WIDTH))
        experts[rows] = rng.normal(0, 0.3, (len(block), len(EXPERTS), RESIDUAL))
        logits[rows] = rng.normal(0, 0.5, (len(block), len(EXPERTS)))
    present = np.ones((size.items, len(MODALITIES)), np.bool_)
    writer.add_array("item_present", present)
    degree, vectors = _write_users(writer, size, rng, history, groups)
    writer.add_array("item_degree", degree.astype(np.int32))
    writer.add_array("popularity", degree.astype(np.float32))
    _write_item_item(writer, size, rng, groups)
    writer.add_parameters(_parameters(rng, np.asarray(parts[:BLOCK], np.float32)))
    sample = np.asarray(vectors[np.sort(rng.choice(size.users, SAMPLED_USERS, replace=False))], np.float32)
    if size.items > FLAT_UP_TO:
        index = build_candidate_index(lambda rows: widened(parts[rows]).sum(axis=1), size.items, sample, size.depth)
        writer.add_file(CANDIDATE_INDEX_FILE, index.content)
        candidates = Candidates(depth=size.depth, recall={INDEX_RECALL: index.recall})
        writer.manifest = writer.manifest.model_copy(update={"candidates": candidates})


def _group_count(size: Size) -> int:
    return max(20, int(size.items**0.5))


def _write_users(
    writer: SnapshotWriter, size: Size, rng: np.random.Generator, item_history: NDArray[Any], groups: int
) -> tuple[NDArray[np.int64], NDArray[np.float16]]:
    """Histories out of three groups of items, the first of a group the most popular.

    Returns how often each item is there (I,), and the users' vectors (U, D), on disk.
    """
    lengths = SHORTEST_HISTORY + rng.geometric(1 / (1 + MEAN_EXTRA_HISTORY), size.users) - 1
    starts = np.concatenate(([0], np.cumsum(lengths)))
    stored = writer.stream_array("history_items", np.int32, (int(starts[-1]),))
    vectors = writer.stream_array("user_vectors", np.float16, (size.users, WIDTH))
    logits = writer.stream_array("user_logits", np.float16, (size.users, len(EXPERTS)))
    writer.add_array("history_indptr", starts.astype(np.int64))
    degree = np.zeros(size.items, np.int64)
    for users in _blocks(size.users):
        own = lengths[users]
        liked = rng.integers(0, groups, (len(own), 3))
        chosen = np.repeat(np.arange(len(own)), own)
        group = liked[chosen, rng.integers(0, 3, len(chosen))]
        deep = (size.items // groups) * rng.random(len(chosen)) ** 3
        rows = group + groups * deep.astype(np.int64)
        first = starts[users.start : users.stop] - starts[users.start]
        stored[starts[users.start] : starts[users.stop]] = rows
        summed = np.add.reduceat(np.asarray(item_history[rows], np.float32), first, axis=0)
        vectors[users] = summed / np.linalg.norm(summed, axis=1, keepdims=True)
        logits[users] = rng.normal(0, 0.5, (len(own), len(EXPERTS)))
        degree += np.bincount(rows, minlength=size.items)
    return degree, vectors


def _write_item_item(writer: SnapshotWriter, size: Size, rng: np.random.Generator, groups: int) -> None:
    """Rows that speak mostly for items of their own group, with values that fall off."""
    count = DENSE_ROWS if size.items <= DENSE_UP_TO else SPARSE_ROWS
    items = writer.stream_array("item_item_items", np.int32, (size.items * count,))
    values = writer.stream_array("item_item_values", np.float16, (size.items * count, len(MODALITIES)))
    writer.add_array("item_item_indptr", count * np.arange(size.items + 1, dtype=np.int64))
    for rows in _blocks(size.items):
        own = np.arange(rows.start, rows.stop)[:, None] % groups
        places = rng.integers(0, size.items // groups, (own.size, count))
        near = own + groups * places
        anywhere = rng.integers(0, size.items, near.shape)
        found = np.where(rng.random(near.shape) < 0.8, near, anywhere)
        part = slice(rows.start * count, rows.stop * count)
        items[part] = found.reshape(-1)
        amounts = rng.exponential(0.05, (found.size, 1)) * np.array([0.9, 0.02, 0.08])
        values[part] = amounts


def _parameters(rng: np.random.Generator, parts: F32) -> dict[str, NDArray[Any]]:
    """Random but for the moments of `parts` (n, M, D), which are the sample's."""
    m, e = len(MODALITIES), len(EXPERTS)
    features, templates = 1 + 2 * m, _templates()
    centred = parts - parts.mean(axis=0)
    total = centred.sum(axis=1)
    drawn = {
        "expert_mix": templates * rng.uniform(0.8, 1.2, templates.shape),
        "expert_gain": rng.uniform(0.5, 1.5, e),
        "expert_template": templates,
        "residual_maps": rng.normal(0, 0.03, (m, m, WIDTH, WIDTH)),
        "pair_weights": rng.normal(0, 0.5, (e, m)),
        "part_mean": parts.mean(axis=0),
        "part_covariance": np.stack([np.cov(centred[:, index].T) for index in range(m)]),
        "part_with_total": np.stack([centred[:, index].T @ total / len(parts) for index in range(m)]),
        "expert_maps": rng.normal(0, 0.1, (e, WIDTH, RESIDUAL)),
        "expert_scale": rng.uniform(0.1, 0.5, e),
        "user_router_mean": rng.normal(0, 0.2, features),
        "user_router_scale": rng.uniform(0.5, 1.5, features),
        "user_router_w1": rng.normal(0, 0.4, (features, HIDDEN)),
        "user_router_b1": rng.normal(0, 0.1, HIDDEN),
        "user_router_w2": rng.normal(0, 0.4, (HIDDEN, e)),
        "user_router_b2": rng.normal(0, 0.1, e),
    }
    removes = np.array([-1] * (e - m) + list(range(m)), np.int32)
    return {name: value.astype(np.float32) for name, value in drawn.items()} | {
        "expert_removes": removes,
        "members": np.array([1], np.int32),
    }


def _templates() -> F32:
    """(E, M): what each expert looks at."""
    eye = np.eye(len(MODALITIES), dtype=np.float32)
    return np.concatenate([0.15 + 0.55 * eye, 0.45 - 0.35 * eye, 0.5 - 0.5 * eye])


def _directions(rng: np.random.Generator, shape: tuple[int, ...]) -> F32:
    """Random directions of length about one."""
    return rng.standard_normal(shape, np.float32) / np.float32(shape[-1] ** 0.5)


def _blocks(count: int) -> Iterator[slice]:
    return (slice(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK))
