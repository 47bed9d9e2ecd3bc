"""The mixture over tables of hard candidates: their scores, and how well they rank held-out positives.

Axes: `n` users, `I` items, `C` candidates, `M` modalities, `E` experts, `W` residual width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from training.models.magnet.candidates import CandidateTable
from training.models.magnet.router import Routing
from training.models.magnet.scored import Evidence, Mixture, Reader

NEVER = -1e9
_AT_ONCE = 512


@dataclass(frozen=True)
class BaseVectors:
    """What the mixture reads of a base: of the frozen one, or, with gradients, of one in the middle of its training."""

    parts: Float[Tensor, "I M D"]  # as `FrozenBase.parts`
    users: Float[Tensor, "U D"]  # as `Evidence.users`


@dataclass(frozen=True)
class _OfItems:
    """What router and experts make of every item, whoever asks."""

    logits: Float[Tensor, "I E"]
    residuals: Float[Tensor, "I E W"]


class TableScores:
    """Scores the rows of one table, with gradients where they are wanted."""

    def __init__(self, evidence: Evidence, mixture: Mixture, table: CandidateTable) -> None:
        self.mixture, self.table, self.evidence = mixture, table, evidence
        self._frozen = BaseVectors(torch.from_numpy(evidence.base.parts), torch.from_numpy(evidence.users))
        self._user_features = torch.from_numpy(evidence.user_features)
        self._item_features = torch.from_numpy(evidence.item_features)

    def routed(self, rows: Int[Tensor, " n"], live: BaseVectors | None = None) -> tuple[Float[Tensor, "n C"], Routing]:
        """The mixture's scores, and how it routed; seen items score `NEVER`."""
        base = live or self._frozen
        without, more, routing = self._mixed(rows, base, self._of_items(base.parts))
        return (without + more).masked_fill(~self.table.unseen[rows], NEVER), routing

    def static(self, rows: Int[Tensor, " n"]) -> Float[Tensor, "n C"]:
        """The scores without a mixture: the sum of what there is to read."""
        reading = self.table.reading
        read = reading.part_scores[rows] + reading.evidence[rows]
        total = read.sum(dim=-1) + reading.level[rows] + reading.evidence_level[rows]
        return total.masked_fill(~self.table.unseen[rows], NEVER)

    @torch.no_grad()
    def spread(self) -> float:
        """The standard deviation of a user's candidates' scores without a mixture, on average over users; of none 1."""
        found = []
        for rows in _blocks(len(self.table.user_rows)):
            scores, unseen = self.static(rows), self.table.unseen[rows]
            count = unseen.sum(dim=1, keepdim=True).clamp_min(1)
            mean = torch.where(unseen, scores, 0.0).sum(dim=1, keepdim=True) / count
            squares = torch.where(unseen, scores - mean, 0.0).square().sum(dim=1, keepdim=True) / count
            found.append(squares.sqrt())
        return max(float(torch.cat(found).mean()), 1e-6) if len(self.table.user_rows) else 1.0

    @torch.no_grad()
    def by_weight(self) -> ScoresByWeight:
        """All scores for any weight of the item-item term: the router does not read it, experts are linear in it."""
        of_items = self._of_items(self._frozen.parts)
        blocks = [self._mixed(rows, self._frozen, of_items)[:2] for rows in _blocks(len(self.table.user_rows))]
        without, more = (torch.cat(column) for column in zip(*blocks, strict=True))
        return ScoresByWeight(without.masked_fill(~self.table.unseen, NEVER), more, self.table)

    def _of_items(self, parts: Tensor) -> _OfItems:
        return _OfItems(self.mixture.router.item(self._item_features), self.mixture.experts.item_residuals(parts))

    def _mixed(self, rows: Tensor, base: BaseVectors, of_items: _OfItems) -> tuple[Tensor, Tensor, Routing]:
        """(n, C) twice: the mixture without item-item evidence, and what that adds; and the routing of both."""
        experts, router = self.mixture.experts, self.mixture.router
        user_rows, items = torch.from_numpy(self.table.user_rows)[rows], self.table.items[rows]
        reading, users = self.table.reading.of(rows), base.users[user_rows]
        if base is not self._frozen:
            reading = replace(reading, **Reader(self.evidence, base.parts).read_parts(users, items))
        routing: Routing = router(router.user(self._user_features[user_rows]), of_items.logits[items], reading.cues)
        scores = experts(
            reading.part_scores,
            reading.predicted,
            experts.user_residuals(users),
            of_items.residuals[items],
        )
        without = (routing.gates * scores).sum(dim=-1) + reading.level
        read = reading.evidence
        if self.evidence.routed:
            read = routing.gates @ experts.weights * read
        return without, read.sum(dim=-1) + reading.evidence_level, routing

    def quality(self) -> dict[str, float]:
        """Recall and NDCG at 20 among the candidates; positives out of reach count as missed."""
        return self.by_weight().quality(1.0)

    @torch.no_grad()
    def static_quality(self) -> dict[str, float]:
        """The same of the scores without a mixture: the control."""
        scores = [self.static(rows) for rows in _blocks(len(self.table.user_rows))]
        return _quality(torch.cat(scores), self.table)


@dataclass(frozen=True)
class ScoresByWeight:
    """`without + weight · more`, for the users of a table."""

    without: Float[Tensor, "n C"]
    more: Float[Tensor, "n C"]
    table: CandidateTable

    def quality(self, weight: float) -> dict[str, float]:
        """Recall and NDCG at 20 with this weight."""
        return _quality(self.without + weight * self.more, self.table)


def _blocks(count: int) -> Iterator[Tensor]:
    return iter(torch.split(torch.arange(count), _AT_ONCE))


def _quality(scores: Float[Tensor, "n C"], table: CandidateTable) -> dict[str, float]:
    discount = 1 / torch.log2(torch.arange(2.0, 22.0))
    top = scores.topk(min(20, scores.shape[1]), dim=1).indices
    hits = table.positive.gather(1, top).float()
    held_out = torch.from_numpy(table.held_out)
    ideal = torch.cumsum(discount, 0)[held_out.clamp_max(20) - 1]
    ndcg = (hits * discount[: hits.shape[1]]).sum(dim=1) / ideal
    return {"recall@20": float((hits.sum(dim=1) / held_out).mean()), "ndcg@20": float(ndcg.mean())}
