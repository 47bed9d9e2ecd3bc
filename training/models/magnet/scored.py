"""MAGNET assembled: frozen base, experts, router and the item-item term, scoring users of one set of histories.

Axes: `n` users of a block, `C` candidates, `I` items, `E` experts, `M` modalities, `D` width.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from model_store.scoring.base import CANDIDATE_LEVEL, entry_amounts
from training.models.item_item import ItemItem
from training.models.magnet.experts import StructuredExperts
from training.models.magnet.frozen import FrozenBase, PartMoments, part_moments, residual_maps
from training.models.magnet.node_features import item_features, user_features
from training.models.magnet.router import PairRouter

F32 = NDArray[np.float32]
TINY = 1e-30
LEFT_OUT = -60.0
"""Logit of what is left out: `exp` of it is below the precision of any score, and fast, unlike `exp(-inf)`."""
TILE_USERS, TILE_ITEMS = 128, 256
"""Pairs whose score is made in one go: what nine experts say of them fits a core's cache."""


@dataclass(frozen=True)
class Evidence:
    """Everything the mixture reads: the base and what follows from it for one set of histories."""

    base: FrozenBase
    interactions: sparse.csr_array  # (U, I) histories
    present: NDArray[np.bool_]  # (I, M)
    degree: F32  # (I,) how often each item was taken, also where it is not among the latest items of a history
    item_item: ItemItem | None
    item_item_shares: dict[int, sparse.csr_array]  # modality's column → (I, I) its share of the term, weighted
    users: F32  # (U, D)
    maps: F32  # (M, M, D, D)
    moments: PartMoments
    routed: bool  # whether experts read the item-item evidence with their streams
    user_features: F32  # (U, 1 + 2M)
    exposure: float = 0.0  # x: how much item-item evidence items without interactions stand with

    @property
    def new(self) -> NDArray[np.bool_]:
        """(I,) items without interactions."""
        none: NDArray[np.bool_] = self.degree == 0
        return none

    @cached_property
    def item_features(self) -> F32:
        """(I, 1 + M): what the router can know of items."""
        return item_features(self.degree, self.present)

    def entry(self, user_rows: NDArray[np.int64], item_item: F32) -> F32:
        """(n, M): of the term (n, M, I) of these users, what takes an item into each one's list."""
        listed = item_item.any(axis=1) & (self.interactions[user_rows].toarray() == 0)
        return np.array([entry_amounts(of[:, kept].T) for of, kept in zip(item_item, listed, strict=True)], np.float32)

    def item_item_scores(self, user_rows: NDArray[np.int64]) -> F32:
        """(n, M, I) the term for these users, by modality."""
        n_items, n_modalities = self.present.shape
        if not self.item_item_shares:
            return np.zeros((len(user_rows), n_modalities, n_items), np.float32)
        scores: F32 = (self.interactions[user_rows] @ self._side_by_side).toarray()
        return scores.reshape(len(user_rows), n_modalities, n_items)

    @cached_property
    def _side_by_side(self) -> sparse.csr_array:
        """(I, M · I) the shares of all modalities, so that one product gives them all."""
        nothing = sparse.csr_array((len(self.present),) * 2, dtype=np.float32)
        shares = [self.item_item_shares.get(column, nothing) for column in range(self.present.shape[1])]
        return sparse.csr_array(sparse.hstack(shares, format="csr"))

    def weighted(self, factor: float) -> Evidence:
        """The same with the item-item term's weight multiplied."""
        if self.item_item is None or factor == 1:
            return self
        if factor == 0:
            return replace(self, item_item=None, item_item_shares={})
        shares = {column: share * np.float32(factor) for column, share in self.item_item_shares.items()}
        term = replace(self.item_item, values=self.item_item.values * np.float32(factor))
        return replace(self, item_item=term, item_item_shares=shares)


def root(variance: Tensor) -> Tensor:
    """Standard deviations, never 0; rounding may have made a variance negative where a part has but one direction."""
    return torch.sqrt(variance.clamp_min(0) + 1e-12)


def gather_evidence(
    base: FrozenBase,
    interactions: sparse.csr_array,
    present: NDArray[np.bool_],
    item_item: ItemItem | None,
    weight: float,
    modalities: Sequence[str],
    *,
    degree: F32,
    routed: bool,
) -> Evidence:
    """What the mixture reads, for users with these histories; `weight` is the item-item term's."""
    shares: dict[int, sparse.csr_array] = {}
    if item_item is not None and weight:
        item_item = replace(item_item, values=item_item.values * np.float32(weight))
        shares = {list(modalities).index(name): item_item.share(name) for name in item_item.shares}
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
    )


def typical_evidence(item_item: F32) -> F32:
    """(n, M): the item-item evidence (n, M, I) of each user's typical candidate.

    As for the parts: the expected item given a total `CANDIDATE_LEVEL` standard deviations above the catalogue's mean.
    """
    n_items = item_item.shape[2]
    total = item_item.sum(axis=1)
    above = total - total.mean(axis=1, keepdims=True)
    together = (item_item @ above[:, :, None])[:, :, 0] / n_items
    spread = np.sqrt(np.einsum("ni,ni->n", above, above) / n_items + 1e-12)
    level: F32 = item_item.mean(axis=2) + CANDIDATE_LEVEL * together / spread[:, None]
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

    def of(self, rows: Tensor) -> Reading:
        """That of some users."""
        return Reading(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


class Reader:
    """Reads pairs of users and items over one base.

    The typical candidate of a user is the expected item given a score `CANDIDATE_LEVEL` standard deviations above the
    catalogue's mean: a closed form in the moments of the parts. Without it an expert's gate would lift or lower an item
    as a whole, because parts differ in level, and routing would be noise in the ranking (measured, training/LOG.md).
    """

    def __init__(self, evidence: Evidence, parts: Tensor | None = None) -> None:
        """`parts` (I, M, D) are read in place of the evidence's own, whose maps and moments still hold."""
        self.parts = torch.from_numpy(evidence.base.parts) if parts is None else parts
        self.present = torch.from_numpy(evidence.present)
        self.maps = torch.from_numpy(evidence.maps)
        self._mean = torch.from_numpy(evidence.moments.mean)
        self._covariance = torch.from_numpy(evidence.moments.covariance)
        self._with_total = torch.from_numpy(evidence.moments.with_total)

    def typical(self, users: Tensor) -> Tensor:
        """(n, M, D): the parts of each user's typical candidate."""
        direction = torch.einsum("mde,ne->nmd", self._with_total, users)
        return self._mean + CANDIDATE_LEVEL * direction / self.total_spread(users)[:, None, None]

    def total_spread(self, users: Tensor) -> Tensor:
        """(n,): standard deviation of the parts' total score over the catalogue."""
        return root(torch.einsum("nd,mde,ne->n", users, self._with_total, users))

    def spread(self, users: Tensor) -> Tensor:
        """(n, M): standard deviation of each part's score over the catalogue."""
        return root(torch.einsum("nd,mde,ne->nm", users, self._covariance, users))

    def read(self, users: Tensor, item_item: F32, items: Tensor) -> Reading:
        """Pairs of `users` (n, D), whose item-item evidence is `item_item` (n, M, I), with their `items` (n, C)."""
        everywhere = torch.from_numpy(item_item)
        evidence = everywhere.gather(2, items[:, None].expand(-1, everywhere.shape[1], -1)).transpose(1, 2)
        evidence_level = torch.from_numpy(typical_evidence(item_item))
        return Reading(
            **self.read_parts(users, items),
            evidence=evidence - evidence_level[:, None],
            evidence_level=evidence_level.sum(dim=1, keepdim=True),
        )

    def read_parts(self, users: Tensor, items: Tensor) -> dict[str, Tensor]:
        """What of a reading follows from the parts, by field."""
        typical = self.typical(users)
        level = torch.einsum("nmd,nd->nm", typical, users)
        predictors = torch.einsum("rmde,ne->nrmd", self.maps, users)
        level_predicted = torch.einsum("nrd,nrmd->nrm", typical, predictors)
        own = self.parts[items]
        part_scores = torch.einsum("ncmd,nd->ncm", own, users) - level[:, None]
        predicted = torch.einsum("ncrd,nrmd->ncrm", own, predictors)
        return {
            "part_scores": part_scores,
            "predicted": predicted - level_predicted[:, None],
            "cues": torch.tanh(part_scores / (3 * self.spread(users)[:, None])) * self.present[items],
            "level": level.sum(dim=1, keepdim=True),
        }


class MagnetScorer:
    """Exact scores of every item, in tiles of users and items that fit the processor's cache.

    The same as `Reader`, experts and router say pair by pair (a test holds them together), but with experts first, so
    that every step is a matrix product or a sweep over contiguous rows. Experts and router are read once: no training
    may follow.
    """

    def __init__(self, evidence: Evidence, mixture: Mixture) -> None:
        self.evidence, self.mixture = evidence, mixture

    @cached_property
    def _items(self) -> _Items:
        return _Items(self.evidence, self.mixture)

    @torch.no_grad()
    def score_block(self, user_rows: NDArray[np.int64]) -> F32:
        """(n, I) full scores, all terms."""
        self.mixture.eval()
        scored = np.empty((len(user_rows), len(self.evidence.present)), np.float32)
        for start in range(0, len(user_rows), TILE_USERS):
            users = _Users(self.evidence, self.mixture, self._items, user_rows[start : start + TILE_USERS])
            for first in range(0, scored.shape[1], TILE_ITEMS):
                tile = slice(first, first + TILE_ITEMS)
                scored[start : start + TILE_USERS, tile] = users.scores(tile)
        return scored


class _Items:
    """What scoring reads of the catalogue, laid out for matrix products."""

    def __init__(self, evidence: Evidence, mixture: Mixture) -> None:
        self.reader = Reader(evidence)
        self.parts = self.reader.parts.permute(1, 2, 0).contiguous()  # (M, D, I)
        self.present = self.reader.present.T[:, None].float()  # (M, 1, I)
        self.new = torch.from_numpy(np.flatnonzero(evidence.new))
        self.residuals = mixture.experts.item_residuals(self.reader.parts).permute(1, 2, 0).contiguous()  # (E, W, I)
        self.logits = mixture.router.item(torch.from_numpy(evidence.item_features)).T[:, None]  # (E, 1, I)


class _Users:
    """What scoring reads of a few users."""

    def __init__(self, evidence: Evidence, mixture: Mixture, items: _Items, rows: NDArray[np.int64]) -> None:
        experts, reader = mixture.experts, items.reader
        self._items, self._router = items, mixture.router
        self._vectors = users = torch.from_numpy(evidence.users[rows])
        self._logits = mixture.router.user(torch.from_numpy(evidence.user_features[rows])).T[:, :, None]  # (E, n, 1)
        self._residuals = experts.user_residuals(users).transpose(0, 1).contiguous()  # (E, n, W)
        typical = reader.typical(users).transpose(0, 1)  # (M, n, D)
        self._level = torch.einsum("mnd,nd->mn", typical, users)[:, :, None]
        self._three_spreads = 3 * reader.spread(users).T[:, :, None]
        self._mix = experts.weights
        self._removed = []
        for expert, removed in enumerate(experts.removes.tolist()):
            if removed >= 0:  # what the experts that remove a modality take off: (n, D) and its level (n, 1)
                said = torch.einsum("m,mde,ne->nd", self._mix[expert], reader.maps[removed], users)
                self._removed.append((expert, removed, said, (said * typical[removed]).sum(dim=1, keepdim=True)))
        item_item = evidence.item_item_scores(rows)
        self._item_item = torch.from_numpy(item_item).transpose(0, 1)  # (M, n, I)
        self._routed = evidence.routed
        self._outset = self._level.sum(dim=0)
        if self._routed:
            self._evidence_level = torch.from_numpy(typical_evidence(item_item)).T[:, :, None]
            self._outset = self._outset + self._evidence_level.sum(dim=0)
        if evidence.exposure and len(items.new):
            entry = torch.from_numpy(evidence.exposure * evidence.entry(rows, item_item)).float()
            rise = CANDIDATE_LEVEL * reader.total_spread(users)[:, None]
            reach = 1 + (users @ items.parts[:, :, items.new].sum(dim=0) - self._level.sum(dim=0)) / rise
            self._item_item[:, :, items.new] += entry.T[:, :, None] * reach

    def scores(self, tile: slice) -> Tensor:
        """(n, C) of the items in `tile`."""
        items, n_modalities = self._items, len(self._level)
        above = (self._vectors @ items.parts[:, :, tile]).sub_(self._level)  # (M, n, C)
        cues = torch.div(above, self._three_spreads).tanh_().mul_(items.present[:, :, tile])
        outset = self._outset
        if self._routed:
            above.add_(self._item_item[:, :, tile]).sub_(self._evidence_level)
        else:
            outset = outset + self._item_item[:, :, tile].sum(dim=0)
        scores = (self._mix @ above.view(n_modalities, -1)).view(-1, *above.shape[1:])  # (E, n, C)
        for expert, removed, said, level in self._removed:
            scores[expert].addmm_(said, items.parts[removed, :, tile], alpha=-1).add_(level)
        scores.baddbmm_(self._residuals, items.residuals[:, :, tile])
        logits = (self._router.pair_weights @ cues.view(n_modalities, -1)).view_as(scores)
        logits.add_(self._logits).add_(items.logits[:, :, tile])
        return _mixed(scores, logits, self._router.top_k).add_(outset)


def _mixed(scores: Tensor, logits: Tensor, top_k: int) -> Tensor:
    """(n, C): the mean of the scores (E, n, C) of the `top_k` experts, weighted by the softmax of their logits.

    Minima, maxima and thresholds instead of sorting and masks: only those run at the speed of memory. Overwrites both.
    """
    highest: list[Tensor] = []  # the `top_k` highest logits and the next, in order
    for passed in logits:
        for place, best in enumerate(highest):
            highest[place] = torch.maximum(best, passed)
            if place < top_k:
                passed = torch.minimum(best, passed)
        if len(highest) <= top_k:
            highest.append(passed)
    first, least = highest[0], highest[top_k - 1]
    if top_k < len(highest) and bool((least == highest[top_k]).any()):  # of equal logits the first count
        order = logits.argsort(dim=0, descending=True, stable=True)
        weights = torch.zeros_like(logits).scatter_(0, order[:top_k], 1.0).mul_((logits - first).exp_())
    else:
        weights = torch.threshold_(logits - least, -TINY, LEFT_OUT).add_(least - first).exp_()
    return scores.mul_(weights).sum(dim=0).div_(weights.sum(dim=0))
