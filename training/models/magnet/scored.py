"""MAGNET assembled: frozen base, experts, router and the item-item term, scoring users of one set of histories.

Axes: `n` users of a block, `C` candidates, `I` items, `E` experts, `M` modalities, `D` width.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from model_store.scoring.base import CANDIDATE_LEVEL
from training.models.item_item import ItemItem
from training.models.magnet.experts import StructuredExperts
from training.models.magnet.frozen import FrozenBase, PartMoments, part_moments, residual_maps
from training.models.magnet.node_features import item_features, user_features
from training.models.magnet.router import PairRouter

F32 = NDArray[np.float32]
TINY = 1e-30
LEFT_OUT = -60.0
"""Logit of what is left out: `exp` of it is below the precision of any score, and fast, unlike `exp(-inf)`."""


@dataclass(frozen=True)
class Evidence:
    """Everything the mixture reads: the base and what follows from it for one set of histories."""

    base: FrozenBase
    interactions: sparse.csr_array  # (U, I) histories
    present: NDArray[np.bool_]  # (I, M)
    degree: F32  # (I,)
    item_item: ItemItem | None
    item_item_shares: dict[int, sparse.csr_array]  # modality's column → (I, I) its share of the term, weighted
    users: F32  # (U, D)
    maps: F32  # (M, M, D, D)
    moments: PartMoments
    routed: bool  # whether experts read the item-item evidence with their streams
    user_features: F32  # (U, 1 + 2M)
    item_features: F32  # (I, G)

    def item_item_scores(self, user_rows: NDArray[np.int64]) -> F32:
        """(n, I, M) the term for these users, by modality."""
        scores = np.zeros((len(user_rows), *self.present.shape), np.float32)
        for column, share in self.item_item_shares.items():
            scores[:, :, column] = (self.interactions[user_rows] @ share).toarray()
        return scores

    def weighted(self, factor: float) -> Evidence:
        """The same with the item-item term's weight multiplied."""
        if self.item_item is None or factor == 1:
            return self
        if factor == 0:
            return replace(self, item_item=None, item_item_shares={})
        shares = {column: share * np.float32(factor) for column, share in self.item_item_shares.items()}
        term = replace(self.item_item, values=self.item_item.values * np.float32(factor))
        return replace(self, item_item=term, item_item_shares=shares)

    def static_scores(self, user_rows: NDArray[np.int64]) -> F32:
        """(n, I) the base without a mixture, plus the item-item term: the static control, and what candidates are."""
        scores: F32 = self.users[user_rows] @ self.base.candidates.T + self.item_item_scores(user_rows).sum(axis=2)
        return scores


def gather_evidence(
    base: FrozenBase,
    interactions: sparse.csr_array,
    present: NDArray[np.bool_],
    item_item: ItemItem | None,
    weight: float,
    modalities: Sequence[str],
    *,
    routed: bool,
) -> Evidence:
    """What the mixture reads, for users with these histories; `weight` is the item-item term's."""
    shares: dict[int, sparse.csr_array] = {}
    if item_item is not None and weight:
        item_item = replace(item_item, values=item_item.values * np.float32(weight))
        shares = {list(modalities).index(name): item_item.share(name) for name in item_item.shares}
    degree = np.asarray(interactions.sum(axis=0), dtype=np.float32).ravel()
    return Evidence(
        base=base,
        interactions=interactions,
        present=present,
        degree=degree,
        item_item=item_item if weight else None,
        item_item_shares=shares,
        routed=routed,
        users=base.users(interactions),
        maps=residual_maps(base.parts, degree > 0),
        moments=part_moments(base.parts),
        user_features=user_features(interactions, base.parts, present),
        item_features=item_features(base.parts, degree),
    )


def typical_evidence(item_item: F32) -> F32:
    """(n, M): the item-item evidence (n, I, M) of each user's typical candidate.

    As for the parts: the expected item given a total `CANDIDATE_LEVEL` standard deviations above the catalogue's mean.
    """
    mean = item_item.mean(axis=1)
    total = item_item.sum(axis=2)
    above = total - total.mean(axis=1, keepdims=True)
    together = np.einsum("nim,ni->nm", item_item, above) / item_item.shape[1]
    level: F32 = mean + CANDIDATE_LEVEL * together / np.sqrt(np.square(above).mean(axis=1) + 1e-12)[:, None]
    return level


class Mixture(torch.nn.Module):
    """Experts and router together: the parameters that phase B fits."""

    def __init__(self, experts: StructuredExperts, router: PairRouter) -> None:
        super().__init__()
        self.experts, self.router = experts, router

    @torch.no_grad()
    def departed(self, share: float) -> Mixture:
        """A copy that departs from its start, which scores like the plain sum, by a share of what was learned.

        All that is scaled starts at zero (gates: the logits beside the dominant experts' head start; experts: mixes,
        gains, the residuals' item side), so 0 is the start and 1 what was learned.
        """
        copied = copy.deepcopy(self)
        for learned in (*copied.experts.learned(), *copied.router.learned()):
            learned.mul_(share)
        return copied


@dataclass(frozen=True)
class Reading:
    """What experts and router read of pairs, all relative to the user's typical candidate."""

    part_scores: Tensor  # (n, C, M) `⟨u, V^m⟩` above the typical candidate's
    evidence: Tensor  # (n, C, M) the modality's item-item evidence above the typical candidate's
    predicted: Tensor  # (n, C, M, M) per removed modality r: `⟨u, V^r A_{r,m}⟩` above the typical candidate's
    cues: Tensor  # (n, C, M) `tanh(z / 3)`: part scores in units of the user's spread; 0 where missing
    level: Tensor  # (n, 1) the typical candidate's score by the parts
    evidence_level: Tensor  # (n, 1) and by the item-item evidence


class Reader:
    """Reads pairs of users and items over one base.

    The typical candidate of a user is the expected item given a score `CANDIDATE_LEVEL` standard deviations above the
    catalogue's mean: a closed form in the moments of the parts. Without it an expert's gate would lift or lower an item
    as a whole, because parts differ in level, and routing would be noise in the ranking (measured, training/LOG.md).
    """

    def __init__(self, evidence: Evidence) -> None:
        self.parts = torch.from_numpy(evidence.base.parts)
        self.present = torch.from_numpy(evidence.present)
        self.maps = torch.from_numpy(evidence.maps)
        self._mean = torch.from_numpy(evidence.moments.mean)
        self._covariance = torch.from_numpy(evidence.moments.covariance)
        self._with_total = torch.from_numpy(evidence.moments.with_total)

    def typical(self, users: Tensor) -> Tensor:
        """(n, M, D): the parts of each user's typical candidate."""
        direction = torch.einsum("mde,ne->nmd", self._with_total, users)
        variance = torch.einsum("nmd,nd->n", direction, users)
        return self._mean + CANDIDATE_LEVEL * direction / torch.sqrt(variance + 1e-12)[:, None, None]

    def spread(self, users: Tensor) -> Tensor:
        """(n, M): standard deviation of each part's score over the catalogue."""
        return torch.sqrt(torch.einsum("nd,mde,ne->nm", users, self._covariance, users) + 1e-12)

    def read(self, users: Tensor, item_item: F32, items: Tensor) -> Reading:
        """Pairs of `users` (n, D), whose item-item evidence is `item_item` (n, I, M), with their `items` (n, C)."""
        typical = self.typical(users)
        level = torch.einsum("nmd,nd->nm", typical, users)
        predictors = torch.einsum("rmde,ne->nrmd", self.maps, users)
        level_predicted = torch.einsum("nrd,nrmd->nrm", typical, predictors)
        own = self.parts[items]
        part_scores = torch.einsum("ncmd,nd->ncm", own, users) - level[:, None]
        predicted = torch.einsum("ncrd,nrmd->ncrm", own, predictors)
        evidence = torch.from_numpy(item_item).gather(1, items[:, :, None].expand(-1, -1, item_item.shape[2]))
        evidence_level = torch.from_numpy(typical_evidence(item_item))
        return Reading(
            part_scores,
            evidence - evidence_level[:, None],
            predicted - level_predicted[:, None],
            torch.tanh(part_scores / (3 * self.spread(users)[:, None])) * self.present[items],
            level.sum(dim=1, keepdim=True),
            evidence_level.sum(dim=1, keepdim=True),
        )


class MagnetScorer:
    """Exact scores of every item, in blocks of users that fit the processor's cache.

    The same as `Reader`, experts and router say pair by pair (a test holds them together), but with experts first, so
    that every step is a matrix product or a sweep over contiguous rows.
    """

    def __init__(self, evidence: Evidence, mixture: Mixture, *, block: int = 16) -> None:
        self.evidence, self.mixture, self.block = evidence, mixture, block

    @torch.no_grad()
    def score_block(self, user_rows: NDArray[np.int64]) -> F32:
        """(n, I) full scores, all terms."""
        self.mixture.eval()
        evidence, experts, router = self.evidence, self.mixture.experts, self.mixture.router
        items = _Items(evidence, self.mixture)
        user_logits = router.user(torch.from_numpy(evidence.user_features))
        scored = np.zeros((len(user_rows), len(evidence.present)), np.float32)
        for start in range(0, len(user_rows), self.block):
            rows = user_rows[start : start + self.block]
            users = torch.from_numpy(evidence.users[rows])
            item_item = evidence.item_item_scores(rows)
            scores, cues, outset = items.read(users, item_item)
            scores.baddbmm_(experts.user_residuals(users).transpose(0, 1), items.residuals)
            logits = torch.einsum("em,mni->eni", router.pair_weights, cues)
            logits += user_logits[torch.from_numpy(rows)].T[:, :, None] + items.logits[:, None]
            scored[start : start + self.block] = _mixed(scores, logits, router.top_k) + outset
        return scored


class _Items:
    """What scoring reads of the catalogue, laid out for matrix products."""

    def __init__(self, evidence: Evidence, mixture: Mixture) -> None:
        self._reader, self._experts = Reader(evidence), mixture.experts
        self._parts = self._reader.parts.transpose(0, 1).contiguous()  # (M, I, D)
        self._present = self._reader.present.T[:, None].float()  # (M, 1, I)
        self._routed = evidence.routed
        self.residuals = mixture.experts.item_residuals(self._reader.parts).permute(1, 2, 0).contiguous()  # (E, W, I)
        self.logits = mixture.router.item(torch.from_numpy(evidence.item_features)).T  # (E, I)

    def read(self, users: Tensor, item_item: F32) -> tuple[Tensor, Tensor, Tensor]:
        """The experts' linear scores (E, n, I), the router's cues (M, n, I), and what all start from (n, I)."""
        experts, typical = self._experts, self._reader.typical(users).transpose(0, 1)  # (M, n, D)
        level = torch.einsum("mnd,nd->mn", typical, users)
        above = users @ self._parts.transpose(1, 2) - level[:, :, None]
        cues = torch.tanh(above / (3 * self._reader.spread(users).T[:, :, None])) * self._present
        evidence = torch.from_numpy(np.ascontiguousarray(item_item.transpose(2, 0, 1)))
        outset = level.sum(dim=0)[:, None]
        if self._routed:
            evidence_level = torch.from_numpy(typical_evidence(item_item)).T
            above += evidence - evidence_level[:, :, None]
            outset = outset + evidence_level.sum(dim=0)[:, None]
        else:
            outset = outset + evidence.sum(dim=0)
        scores = torch.einsum("em,mni->eni", experts.gain[:, None] * experts.mix, above)
        for expert, removed in enumerate(experts.removes.tolist()):
            if removed >= 0:
                predictor = torch.einsum("m,mde,ne->nd", experts.mix[expert], self._reader.maps[removed], users)
                said = predictor @ self._parts[removed].T - (predictor * typical[removed]).sum(dim=1)[:, None]
                scores[expert] -= experts.gain[expert] * said
        return scores, cues, outset


def _mixed(scores: Tensor, logits: Tensor, top_k: int) -> Tensor:
    """(n, I): the mean of the scores (E, n, I) of the `top_k` experts, weighted by the softmax of their logits.

    Minima, maxima and thresholds instead of sorting and masks: only those run at the speed of memory.
    """
    highest = [torch.full_like(logits[0], -torch.inf)] * (top_k + 1)
    for passed in logits:
        for place, best in enumerate(highest):
            highest[place], passed = torch.maximum(best, passed), torch.minimum(best, passed)
    first, least, next_best = highest[0], highest[top_k - 1], highest[top_k]
    if bool((least == next_best).any()):  # of equal logits the first count
        order = logits.argsort(dim=0, descending=True, stable=True)
        weights = torch.zeros_like(logits).scatter_(0, order[:top_k], 1.0).mul_((logits - first).exp_())
    else:
        weights = torch.threshold_(logits - least, -TINY, LEFT_OUT).add_(least - first).exp_()
    return (weights * scores).sum(dim=0).div_(weights.sum(dim=0))
