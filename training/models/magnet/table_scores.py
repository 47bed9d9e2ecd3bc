"""The mixture over tables of hard candidates: their scores, and how well they rank held-out positives.

Axes: `n` users, `C` candidates, `M` modalities.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from training.models.magnet.candidates import CandidateTable
from training.models.magnet.router import Routing
from training.models.magnet.scored import Evidence, Mixture

NEVER = -1e9
_AT_ONCE = 512


class TableScores:
    """Scores the rows of one table, with gradients where they are wanted."""

    def __init__(self, evidence: Evidence, mixture: Mixture, table: CandidateTable) -> None:
        self.mixture, self.table = mixture, table
        self._routed = evidence.routed
        self._parts = torch.from_numpy(evidence.base.parts)
        self._users = torch.from_numpy(evidence.users)
        self._user_features = torch.from_numpy(evidence.user_features)
        self._item_features = torch.from_numpy(evidence.item_features)

    def routed(
        self, rows: Int[Tensor, " n"], *, dense: bool = False, weight: float = 1.0
    ) -> tuple[Float[Tensor, "n C"], Routing]:
        """The mixture's scores, and how it routed; seen items score `NEVER`; `weight` multiplies item-item evidence."""
        table, experts, router = self.table, self.mixture.experts, self.mixture.router
        user_rows, items = torch.from_numpy(table.user_rows)[rows], table.items[rows]
        read, level = table.reading.part_scores[rows], table.reading.level[rows]
        evidence, evidence_level = self._evidence(rows, weight)
        if self._routed:
            read, level = read + evidence, level + evidence_level
        else:
            level = level + evidence.sum(dim=-1) + evidence_level
        scores = experts(
            read,
            table.reading.predicted[rows],
            experts.user_residuals(self._users[user_rows]),
            experts.item_residuals(self._parts)[items],
        )
        routing: Routing = router(
            router.user(self._user_features[user_rows]),
            router.item(self._item_features)[items],
            table.reading.cues[rows],
            dense=dense,
        )
        total = (routing.gates * scores).sum(dim=-1) + level
        return total.masked_fill(~table.unseen[rows], NEVER), routing

    def static(self, rows: Int[Tensor, " n"]) -> Float[Tensor, "n C"]:
        """The scores without a mixture: the sum of what there is to read."""
        reading, (evidence, level) = self.table.reading, self._evidence(rows, 1.0)
        total = (reading.part_scores[rows] + evidence).sum(dim=-1) + reading.level[rows] + level
        return total.masked_fill(~self.table.unseen[rows], NEVER)

    def _evidence(self, rows: Int[Tensor, " n"], weight: float) -> tuple[Float[Tensor, "n C M"], Float[Tensor, "n 1"]]:
        reading = self.table.reading
        return weight * reading.evidence[rows], weight * reading.evidence_level[rows]

    @torch.no_grad()
    def by_weight(self) -> ScoresByWeight:
        """All scores for any weight of the item-item term: the router does not read it, experts are linear in it."""
        without, more = [], []
        for rows in _blocks(len(self.table.user_rows)):
            at_0, at_1 = (self.routed(rows, weight=weight)[0] for weight in (0.0, 1.0))
            without.append(at_0)
            more.append(at_1 - at_0)
        return ScoresByWeight(torch.cat(without), torch.cat(more), self.table)

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
