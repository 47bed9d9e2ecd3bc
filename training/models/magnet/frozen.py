"""The base once it is fitted: plain arrays, in the very form that the snapshot stores.

Axes: `U` users, `I` items, `M` modalities (behaviour first), `D` width (of all members side by side), `k` members.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from training.models.magnet.dual_view import DualViewBase
from training.models.magnet.masked import Masking, without

F32 = NDArray[np.float32]
RIDGE = 0.01


@dataclass(frozen=True)
class NewItemForm:
    """How an item that nobody has taken gets its vectors: `F W_m` plus `neighbours ·` the warm neighbours' mean.

    On the candidate side also plus what all items have in `common`, and normalised (`new_items.parts_of_new`).
    """

    projections: dict[str, F32]  # per content modality (d_m, D), candidate side
    history_projections: dict[str, F32]  # per content modality (d_m, D), history side
    neighbours: F32  # (2, D): history side, candidate side; constant within a member
    common: F32  # (D,), candidate side
    length: float = 1.0  # of the candidate


@dataclass(frozen=True)
class FrozenBase:
    """Candidate parts (their sum is a unit vector per member, over √k) and history rows."""

    parts: F32  # (I, M, D)
    history: F32  # (I, D)
    members: int
    new_item: NewItemForm
    again: Callable[[Masking], FrozenBase] | None = field(default=None, repr=False, compare=False)
    """The same base, run again with a modality of some items masked; None where only the arrays are at hand."""

    def users(self, interactions: sparse.csr_array) -> F32:
        """(U, D) unit vectors of users with these histories; zero where the history is empty."""
        total = np.asarray(interactions @ self.history, dtype=np.float32)
        return unit_blocks(total, self.members)

    @property
    def candidates(self) -> F32:
        """(I, D): what is retrieved by inner product."""
        vectors: F32 = self.parts.sum(axis=1)
        return vectors


def unit_blocks(vectors: F32, members: int) -> F32:
    """Each member's block normalised, the whole row a unit vector: members count alike whatever their scale."""
    blocks = vectors.reshape(len(vectors), members, vectors.shape[1] // members)  # also of no vectors at all
    norms = np.linalg.norm(blocks, axis=2, keepdims=True)
    unit: F32 = (blocks / np.maximum(norms, 1e-12) / members**0.5).reshape(vectors.shape)
    return unit


def freeze(module: DualViewBase) -> FrozenBase:
    """The arrays of one fitted base."""
    return replace(_run(module), again=lambda masking: _run(without(module, masking)))


@torch.no_grad()
def _run(module: DualViewBase) -> FrozenBase:
    module.eval()
    views = module()
    parts = module.candidate_parts()
    norm = parts.sum(dim=1).norm(dim=1).clamp_min(1e-12)
    width = module.width
    scale = module.new_item.repeat_interleave(width, dim=1).cpu().numpy()
    weights = {name: module.content_projection(name).cpu().numpy() for name in module.content_names}
    return FrozenBase(
        parts=(parts / norm[:, None, None]).cpu().numpy(),
        history=views.history.cpu().numpy(),
        members=1,
        new_item=NewItemForm(
            projections={name: (weight * scale[0])[:, width:] for name, weight in weights.items()},
            history_projections={name: (weight * scale[0])[:, :width] for name, weight in weights.items()},
            neighbours=np.stack([scale[1, :width], scale[1, width:]]),
            common=np.zeros(width, np.float32),
        ),
    )


def concatenate(bases: Sequence[FrozenBase]) -> FrozenBase:
    """Members trained apart, side by side: the score is the mean of theirs."""
    if len(bases) == 1:
        return bases[0]
    k = len(bases)

    def joined(arrays: Sequence[F32]) -> F32:
        return np.concatenate(arrays, axis=-1)

    forms = [base.new_item for base in bases]
    return FrozenBase(
        parts=joined([base.parts for base in bases]) / np.float32(k**0.5),
        history=joined([base.history for base in bases]),
        members=k,
        new_item=NewItemForm(
            projections={name: joined([f.projections[name] for f in forms]) for name in forms[0].projections},
            history_projections={
                name: joined([f.history_projections[name] for f in forms]) for name in forms[0].history_projections
            },
            neighbours=joined([f.neighbours for f in forms]),
            common=joined([f.common for f in forms]),
        ),
        again=_every([base.again for base in bases]),
    )


def _every(members: Sequence[Callable[[Masking], FrozenBase] | None]) -> Callable[[Masking], FrozenBase] | None:
    known = [again for again in members if again is not None]
    return (lambda masking: concatenate([again(masking) for again in known])) if len(known) == len(members) else None


def aligned(base: FrozenBase, reference: FrozenBase) -> FrozenBase:
    """The same base in the reference's coordinates (orthogonal Procrustes, member by member).

    Inner products do not change, so neither does any score of the base; what experts learned about directions of the
    reference then holds for a base that was fitted again on more interactions.
    """
    width = base.history.shape[1] // base.members
    rotation = np.zeros((base.history.shape[1],) * 2, np.float32)
    for member in range(base.members):
        block = slice(member * width, (member + 1) * width)
        stacked = _stacked(base, block), _stacked(reference, block)
        left, _, right = np.linalg.svd(stacked[0].T @ stacked[1])
        rotation[block, block] = left @ right
    return _rotated(base, rotation)


def _rotated(base: FrozenBase, rotation: F32) -> FrozenBase:
    form, again = base.new_item, base.again
    return replace(
        base,
        parts=base.parts @ rotation,
        history=base.history @ rotation,
        new_item=replace(
            form,
            projections={name: weight @ rotation for name, weight in form.projections.items()},
            history_projections={name: weight @ rotation for name, weight in form.history_projections.items()},
            common=form.common @ rotation,
        ),
        again=None if again is None else lambda masking: _rotated(again(masking), rotation),
    )


def _stacked(base: FrozenBase, block: slice) -> NDArray[np.float64]:
    rows = [base.parts[:, :, block].sum(axis=1), base.history[:, block]]
    return np.concatenate([row / max(float(np.linalg.norm(row)), 1e-12) for row in rows]).astype(np.float64)


def residual_maps(parts: F32, warm: NDArray[np.bool_]) -> F32:
    """`A` (M, M, D, D): ridge regression of part m on part r over warm items; what r predicts of m."""
    _, n_modalities, width = parts.shape
    maps = np.zeros((n_modalities, n_modalities, width, width), np.float32)
    known = parts[warm].astype(np.float64)
    for r in range(n_modalities):
        gram = known[:, r].T @ known[:, r]
        gram += (RIDGE * np.trace(gram) / width + 1e-9) * np.eye(width)
        for m in range(n_modalities):
            if m != r:
                maps[r, m] = np.linalg.solve(gram, known[:, r].T @ known[:, m])
    return maps


@dataclass(frozen=True)
class PartMoments:
    """Moments of the parts over the catalogue; with them a user's level and spread are closed forms."""

    mean: F32  # (M, D)
    covariance: F32  # (M, D, D) of each part with itself
    with_total: F32  # (M, D, D) of each part with the sum of all parts


def part_moments(parts: F32) -> PartMoments:
    """The moments of these parts (I, M, D)."""
    mean = parts.mean(axis=0, dtype=np.float64)
    centred = parts - mean
    total = centred.sum(axis=1)
    return PartMoments(
        mean=mean.astype(np.float32),
        covariance=np.stack([part.T @ part / len(parts) for part in centred.swapaxes(0, 1)]).astype(np.float32),
        with_total=np.stack([part.T @ total / len(parts) for part in centred.swapaxes(0, 1)]).astype(np.float32),
    )
