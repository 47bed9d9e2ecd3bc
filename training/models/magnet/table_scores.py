"""The mixture over tables of hard candidates: their scores, and how well they rank held-out positives.

Axes: `n` users, `C` candidates, `M` modalities.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from training.models.magnet.candidates import CandidateTable
from training.models.magnet.router import Routing
from training.models.magnet.scored import Evidence, Mixture

NEVER = -1e9
_AT_ONCE = 512


class TableScores:
    """Scores the rows of one table, with gradients where they are wanted; `weight` multiplies the item-item term's."""

    def __init__(self, evidence: Evidence, mixture: Mixture, table: CandidateTable, weight: float = 1.0) -> None:
        self.mixture, self.table, self.weight = mixture, table, weight
        self._routed = evidence.routed
        self._parts = torch.from_numpy(evidence.base.parts)
        self._users = torch.from_numpy(evidence.users)
        self._user_features = torch.from_numpy(evidence.user_features)
        self._item_features = torch.from_numpy(evidence.item_features)

    def routed(self, rows: Int[Tensor, " n"], *, dense: bool = False) -> tuple[Float[Tensor, "n C"], Routing]:
        """The mixture's scores, and how it routed; seen items score `NEVER`."""
        table, experts, router = self.table, self.mixture.experts, self.mixture.router
        user_rows, items = torch.from_numpy(table.user_rows)[rows], table.items[rows]
        read, level = table.reading.part_scores[rows], table.reading.level[rows]
        evidence, evidence_level = self._evidence(rows)
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
        reading, (evidence, level) = self.table.reading, self._evidence(rows)
        total = (reading.part_scores[rows] + evidence).sum(dim=-1) + reading.level[rows] + level
        return total.masked_fill(~self.table.unseen[rows], NEVER)

    def _evidence(self, rows: Int[Tensor, " n"]) -> tuple[Float[Tensor, "n C M"], Float[Tensor, "n 1"]]:
        reading = self.table.reading
        return self.weight * reading.evidence[rows], self.weight * reading.evidence_level[rows]

    @torch.no_grad()
    def quality(self) -> dict[str, float]:
        """Recall and NDCG at 20 among the candidates; positives out of reach count as missed."""
        return self._quality(lambda rows: self.routed(rows)[0])

    @torch.no_grad()
    def static_quality(self) -> dict[str, float]:
        """The same of the scores without a mixture: the control."""
        return self._quality(self.static)

    def _quality(self, scores_of: Callable[[Tensor], Tensor]) -> dict[str, float]:
        table = self.table
        recall, ndcg = [], []
        discount = 1 / torch.log2(torch.arange(2.0, 22.0))
        for start in range(0, len(table.user_rows), _AT_ONCE):
            rows = torch.arange(start, min(start + _AT_ONCE, len(table.user_rows)))
            scores = scores_of(rows)
            top = scores.topk(min(20, scores.shape[1]), dim=1).indices
            hits = table.positive[rows].gather(1, top).float()
            held_out = torch.from_numpy(table.held_out)[rows]
            recall.append(hits.sum(dim=1) / held_out)
            ideal = torch.cumsum(discount, 0)[held_out.clamp_max(20) - 1]
            ndcg.append((hits * discount[: hits.shape[1]]).sum(dim=1) / ideal)
        return {"recall@20": float(torch.cat(recall).mean()), "ndcg@20": float(torch.cat(ndcg).mean())}
