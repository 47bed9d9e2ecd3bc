"""Which arrays a snapshot of each scoring kind has, with dtypes, shapes and what their numbers may be.

Axes: `U` users, `I` items, `M` modalities, `D` embedding size, `T` terms without `item-item`, `E` routed experts,
`C` categories; other names are free but must agree wherever they appear. FORMAT.md has the same table in words.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from model_store.errors import SnapshotCorrupt
from model_store.manifest import ITEM_ITEM, Manifest, ManifestDraft

if TYPE_CHECKING:
    from model_store.snapshot import Snapshot

_BLOCK = 2**22  # elements looked at in one go: bounds the temporaries


@dataclass(frozen=True)
class ArrayRule:
    """What is expected of one array."""

    dtypes: tuple[str, ...]
    shape: tuple[str, ...]
    required_by: frozenset[str] = frozenset()
    rows_of: str | None = None
    """Axis whose rows the values are; they lie in 0..size-1."""
    padded: bool = False
    """Whether -1 may stand for "none" among the rows."""
    starts_of: str | None = None
    """Name of the array that these offsets cut into rows: from 0, never falling, to its length."""
    floor: float | None = None
    """Smallest number allowed."""


_EVERY = frozenset({"pair", "item", "plain", "item-item", "popularity"})
_PAIR = frozenset({"pair"})
_VECTORS = frozenset({"pair", "item", "plain"})
_HALF = ("<f2", "<f4")

RULES: dict[str, ArrayRule] = {
    "user_ids_bytes": ArrayRule(("|u1",), ("user_id_bytes",), _EVERY),
    "user_ids_offsets": ArrayRule(("<i8",), ("U+1",), _EVERY, starts_of="user_ids_bytes"),
    "user_ids_order": ArrayRule(("<i4",), ("U",), _EVERY, rows_of="U"),
    "item_ids_bytes": ArrayRule(("|u1",), ("item_id_bytes",), _EVERY),
    "item_ids_offsets": ArrayRule(("<i8",), ("I+1",), _EVERY, starts_of="item_ids_bytes"),
    "item_ids_order": ArrayRule(("<i4",), ("I",), _EVERY, rows_of="I"),
    "item_records_bytes": ArrayRule(("|u1",), ("record_bytes",), _EVERY),
    "item_records_offsets": ArrayRule(("<i8",), ("I+1",), _EVERY, starts_of="item_records_bytes"),
    "categories_bytes": ArrayRule(("|u1",), ("category_bytes",), _EVERY),
    "categories_offsets": ArrayRule(("<i8",), ("C+1",), _EVERY, starts_of="categories_bytes"),
    "categories_order": ArrayRule(("<i4",), ("C",), _EVERY, rows_of="C"),
    "category_indptr": ArrayRule(("<i8",), ("C+1",), _EVERY, starts_of="category_items"),
    "category_items": ArrayRule(("<i4",), ("categorised",), _EVERY, rows_of="I"),
    "popularity": ArrayRule(("<f4",), ("I",), _EVERY, floor=0),
    "item_degree": ArrayRule(("<i4",), ("I",), _EVERY, floor=0),
    "item_present": ArrayRule(("|b1",), ("I", "M"), _EVERY),
    "history_indptr": ArrayRule(("<i8",), ("U+1",), _EVERY, starts_of="history_items"),
    "history_items": ArrayRule(("<i4",), ("interactions",), _EVERY, rows_of="I"),
    "item_parts": ArrayRule(_HALF, ("I", "M", "D"), _PAIR),
    "item_history": ArrayRule(_HALF, ("I", "D"), _VECTORS),
    "user_vectors": ArrayRule(_HALF, ("U", "D"), _VECTORS),
    "item_vectors": ArrayRule(_HALF, ("I", "D"), frozenset({"plain"})),
    "item_term_vectors": ArrayRule(_HALF, ("I", "T", "D"), frozenset({"item"})),
    "item_gates": ArrayRule(_HALF, ("I", "T"), frozenset({"item"}), floor=0),
    "user_logits": ArrayRule(_HALF, ("U", "E"), _PAIR),
    "item_logits": ArrayRule(_HALF, ("I", "E"), _PAIR),
    "item_experts": ArrayRule(_HALF, ("I", "E", "W"), _PAIR),
    "item_item_indptr": ArrayRule(("<i8",), ("I+1",), frozenset({"item-item"}), starts_of="item_item_items"),
    "item_item_items": ArrayRule(("<i4",), ("item_item",), frozenset({"item-item"}), rows_of="I"),
    "item_item_values": ArrayRule(_HALF, ("item_item", "M"), frozenset({"item-item"})),
}

PAIR_PARAMETERS: dict[str, tuple[str, ...]] = {
    "expert_mix": ("E", "M"),
    "members": ("single",),
    "expert_gain": ("E",),
    "expert_template": ("E", "M"),
    "expert_removes": ("E",),
    "residual_maps": ("M", "M", "D", "D"),
    "pair_weights": ("E", "M"),
    "part_mean": ("M", "D"),
    "part_covariance": ("M", "D", "D"),
    "part_with_total": ("M", "D", "D"),
    "expert_maps": ("E", "D", "W"),
    "expert_scale": ("E",),
    "user_router_mean": ("F",),
    "user_router_scale": ("F",),
    "user_router_w1": ("F", "hidden"),
    "user_router_b1": ("hidden",),
    "user_router_w2": ("hidden", "E"),
    "user_router_b2": ("E",),
}
LINEAR_USER_PARAMETERS: dict[str, tuple[str, ...]] = {"user_offset": ("D",), "history_decay": ("single",)}
PARAMETERS = {"pair": PAIR_PARAMETERS, "plain": LINEAR_USER_PARAMETERS, "item": LINEAR_USER_PARAMETERS}


def rule_for(name: str, manifest: ManifestDraft) -> ArrayRule | None:
    """The rule of an array, None for arrays that the format does not know (they are carried along)."""
    for modality in manifest.modalities:
        if name == f"neighbours_{modality.name}_items":
            return ArrayRule(("<i4",), ("I", "neighbours"), rows_of="I", padded=True)
        if name == f"neighbours_{modality.name}_values":
            return ArrayRule(_HALF, ("I", "neighbours"))
        if name == f"features_{modality.name}":
            return ArrayRule(_HALF, ("I", f"feature_width of {modality.name}"))
    return RULES.get(name)


def check_layout(manifest: Manifest, parameters: dict[str, tuple[int, ...]]) -> None:
    """Raise SnapshotCorrupt unless every required array and parameter is declared with a shape that fits the others."""
    known = {
        "U": manifest.n_users,
        "U+1": manifest.n_users + 1,
        "I": manifest.n_items,
        "I+1": manifest.n_items + 1,
        "M": len(manifest.modalities),
        "D": manifest.embedding_size,
        "T": sum(term.name != ITEM_ITEM for term in manifest.terms),
        "E": sum(term.role != "base" for term in manifest.terms),
    }
    known |= {f"feature_width of {m.name}": m.feature_width for m in manifest.modalities if m.feature_width}
    asked_for = {manifest.scoring, *(term.name for term in manifest.terms if term.name == ITEM_ITEM)}
    for name, rule in RULES.items():
        if rule.required_by & asked_for and name not in manifest.arrays:
            raise SnapshotCorrupt(f"arrays/{name}.npy", f"an array that {manifest.scoring!r} snapshots have", "nothing")
    for name, info in manifest.arrays.items():
        found = rule_for(name, manifest)
        if found is None:
            continue
        if info.dtype not in found.dtypes:
            raise SnapshotCorrupt(info.file, f"dtype {' or '.join(found.dtypes)}", info.dtype)
        _fit(info.file, found.shape, info.shape, known)
        if found.shape == ("C",):
            _fit(info.file, ("C+1",), (info.shape[0] + 1,), known)
    for name, shape in PARAMETERS.get(manifest.scoring, {}).items():
        if name not in parameters:
            raise SnapshotCorrupt("parameters.safetensors", f"a parameter {name!r}", "nothing")
        _fit(f"parameters.safetensors: {name}", shape, parameters[name], known)


def check_values(snapshot: Snapshot) -> None:
    """Raise SnapshotCorrupt for a number that would mislead a reader: an offset or row out of bounds, NaN, infinity."""
    sizes = {"U": snapshot.n_users, "I": snapshot.n_items, "C": len(snapshot.categories)}
    for name, info in snapshot.manifest.arrays.items():
        array = snapshot.array(name)
        rule = rule_for(name, snapshot.manifest)
        if array.dtype.kind == "f" and not all(np.isfinite(block).all() for block in _blocks(array)):
            raise SnapshotCorrupt(info.file, "finite numbers", "NaN or infinity")
        if array.dtype.kind == "b" and not all((block.view(np.uint8) <= 1).all() for block in _blocks(array)):
            raise SnapshotCorrupt(info.file, "bytes 0 and 1", "others")
        if rule is None:
            continue
        if rule.rows_of is not None:
            _within(info.file, array, -1 if rule.padded else 0, sizes[rule.rows_of] - 1)
        if rule.floor is not None:
            _within(info.file, array, rule.floor, np.inf)
        if rule.starts_of is not None:
            _check_offsets(info.file, array, len(snapshot.array(rule.starts_of)))
    for name, parameter in snapshot.parameters.items():
        if parameter.dtype.kind == "f" and not np.isfinite(parameter).all():
            raise SnapshotCorrupt(f"parameters.safetensors: {name}", "finite numbers", "NaN or infinity")
    if snapshot.manifest.scoring == "pair":
        _check_pair(snapshot)


def _check_pair(snapshot: Snapshot) -> None:
    manifest, where = snapshot.manifest, "parameters.safetensors"
    experts = len(snapshot.parameter("expert_gain"))
    if not 1 <= manifest.top_k_experts <= experts:
        raise SnapshotCorrupt("manifest.json", f"top_k_experts in 1..{experts}", str(manifest.top_k_experts))
    members = int(snapshot.parameter("members")[0])
    if members < 1 or manifest.embedding_size % members:
        raise SnapshotCorrupt(f"{where}: members", f"a divisor of {manifest.embedding_size}", str(members))
    _within(f"{where}: expert_removes", snapshot.parameter("expert_removes"), -1, len(manifest.modalities) - 1)
    if not (snapshot.parameter("user_router_scale") > 0).all():
        raise SnapshotCorrupt(f"{where}: user_router_scale", "positive numbers", "0 or less")


def _fit(where: str, axes: tuple[str, ...], shape: tuple[int, ...], known: dict[str, int]) -> None:
    wanted = tuple(known.get(axis, axis) for axis in axes)
    if len(axes) != len(shape) or any(known.setdefault(a, n) != n for a, n in zip(axes, shape, strict=True)):
        raise SnapshotCorrupt(where, f"shape ({', '.join(axes)}) = {wanted}", str(shape))


def _within(where: str, array: NDArray[Any], low: float, high: float) -> None:
    for block in _blocks(array):
        if block.size and not low <= block.min() <= block.max() <= high:
            raise SnapshotCorrupt(where, f"numbers in {low}..{high}", f"{block.min()}..{block.max()}")


def _check_offsets(where: str, offsets: NDArray[np.int64], length: int) -> None:
    if offsets[0] != 0 or offsets[-1] != length or (np.diff(offsets) < 0).any():
        raise SnapshotCorrupt(where, f"offsets that rise from 0 to {length}", f"{offsets[0]}..{offsets[-1]}, or a fall")


def _blocks(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    flat = array.reshape(-1)
    return (flat[start : start + _BLOCK] for start in range(0, len(flat), _BLOCK))
