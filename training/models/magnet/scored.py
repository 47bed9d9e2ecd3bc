"""MAGNET assembled: frozen base, experts, router and the item-item term, scoring users of one set of histories.

Axes: `n` users of a block, `C` candidates, `I` items, `E` experts, `M` modalities, `D` width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from training.models.item_item import ItemItem
from training.models.magnet.experts import StructuredExperts
from training.models.magnet.frozen import FrozenBase, part_moments, residual_maps
from training.models.magnet.node_features import item_features, user_features
from training.models.magnet.router import PairRouter

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Evidence:
    """Everything the mixture reads: the base and what follows from it for one set of histories."""

    base: FrozenBase
    interactions: sparse.csr_array  # (U, I) histories
    present: NDArray[np.bool_]  # (I, M)
    degree: F32  # (I,)
    item_item: ItemItem | None
    item_item_total: sparse.csr_array  # (I, I) the term's matrix, weighted; empty without the term
    users: F32  # (U, D)
    maps: F32  # (M, M, D, D)
    mean: F32  # (M, D)
    covariance: F32  # (M, D, D)
    user_features: F32  # (U, 1 + 2M)
    item_features: F32  # (I, G)

    def item_item_scores(self, user_rows: NDArray[np.int64]) -> F32:
        """(n, I) the term for these users."""
        scores: F32 = (self.interactions[user_rows] @ self.item_item_total).toarray().astype(np.float32)
        return scores

    def static_scores(self, user_rows: NDArray[np.int64]) -> F32:
        """(n, I) the base without a mixture, plus the item-item term: the static control, and what candidates are."""
        scores: F32 = self.users[user_rows] @ self.base.candidates.T
        return scores + self.item_item_scores(user_rows)


def gather_evidence(
    base: FrozenBase,
    interactions: sparse.csr_array,
    present: NDArray[np.bool_],
    item_item: ItemItem | None,
    weight: float,
) -> Evidence:
    """What the mixture reads, for users with these histories; `weight` is the item-item term's."""
    total = sparse.csr_array(interactions.shape[1:] * 2, dtype=np.float32)
    if item_item is not None and weight:
        item_item = replace(item_item, values=item_item.values * np.float32(weight))
        total = item_item.matrix()
    degree = np.asarray(interactions.sum(axis=0), dtype=np.float32).ravel()
    mean, covariance = part_moments(base.parts)
    return Evidence(
        base=base,
        interactions=interactions,
        present=present,
        degree=degree,
        item_item=item_item if weight else None,
        item_item_total=total,
        users=base.users(interactions),
        maps=residual_maps(base.parts, degree > 0),
        mean=mean,
        covariance=covariance,
        user_features=user_features(interactions, base.parts, present),
        item_features=item_features(base.parts, present, degree),
    )


class Mixture(torch.nn.Module):
    """Experts and router together: the parameters that phase B fits."""

    def __init__(self, experts: StructuredExperts, router: PairRouter) -> None:
        super().__init__()
        self.experts, self.router = experts, router


def standardised_cues(part_scores: Tensor, users: Tensor, mean: Tensor, covariance: Tensor, present: Tensor) -> Tensor:
    """`tanh(z / 3)` (n, C, M): part scores in units of the user's spread over the catalogue; 0 where missing."""
    centre = users @ mean.T
    spread = torch.sqrt(torch.einsum("nd,mde,ne->nm", users, covariance, users) + 1e-12)
    return torch.tanh((part_scores - centre[:, None]) / (3 * spread[:, None])) * present


class MagnetScorer:
    """Exact scores of every item, in blocks of users."""

    def __init__(self, evidence: Evidence, mixture: Mixture, *, block: int = 64) -> None:
        self.evidence, self.mixture, self.block = evidence, mixture, block

    @torch.no_grad()
    def score_block(self, user_rows: NDArray[np.int64]) -> F32:
        """(n, I) full scores, all terms."""
        self.mixture.eval()
        evidence, experts, router = self.evidence, self.mixture.experts, self.mixture.router
        parts = torch.from_numpy(evidence.base.parts)
        present = torch.from_numpy(evidence.present)
        item_residuals = experts.item_residuals(parts)
        item_logits = router.item(torch.from_numpy(evidence.item_features))
        user_logits = router.user(torch.from_numpy(evidence.user_features))
        eligible = router.eligible(present)
        mean, covariance = torch.from_numpy(evidence.mean), torch.from_numpy(evidence.covariance)
        maps = torch.from_numpy(evidence.maps)
        scored = np.zeros((len(user_rows), len(evidence.present)), np.float32)
        for start in range(0, len(user_rows), self.block):
            rows = user_rows[start : start + self.block]
            users = torch.from_numpy(evidence.users[rows])
            part_scores = torch.einsum("nd,imd->nim", users, parts)
            predicted = torch.einsum("ird,nrmd->nirm", parts, torch.einsum("rmde,ne->nrmd", maps, users))
            residuals = torch.einsum("new,iew->nie", experts.user_residuals(users), item_residuals)
            scores = experts.linear_scores(part_scores, predicted) + residuals
            cues = standardised_cues(part_scores, users, mean, covariance, present)
            routing = router(user_logits[torch.from_numpy(rows)], item_logits[None], cues, eligible[None])
            routed = (routing.gates * scores).sum(dim=-1).numpy()
            scored[start : start + self.block] = routed + evidence.item_item_scores(rows)
        return scored
