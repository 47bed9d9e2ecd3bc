"""The structured experts over the parts of the frozen base.

Axes: `B` users of a batch, `C` candidates, `E` experts, `M` modalities, `D` width, `W` width of the residual maps.

    s_e(u,i) = κ_e Σ_m ω_em ⟨u, V^m_i − [r_e ≠ ∅] V^{r_e}_i A_{r_e,m}⟩ + ⟨η_e tanh(u W_e), φ_e(i)⟩

An expert's map is the identity beside a small residual: inner products of concatenations are sums, so the first term is
linear in the parts and its split over modalities is exact. The residual's item side starts at zero, its scale η is
bounded by 1 (unbounded scales destroyed the model, see training/LOG.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from training.models.magnet.roles import StructuredExpert

MIX_FREEDOM = 0.5
GAIN_FREEDOM = 0.5


class StructuredExperts(nn.Module):
    """Mixes ω around the roles' templates, gains κ, and residual maps."""

    template: Tensor  # (E, M)
    removes: Tensor  # (E,), -1 for none
    tie: Tensor  # (E, M, M)

    def __init__(
        self,
        roles: Sequence[StructuredExpert],
        width: int,
        residual_width: int,
        initial_scale: float,
        dropout: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.roles = list(roles)
        count = len(self.roles)
        template = torch.tensor([role.template for role in self.roles])
        tie = torch.stack([_tied(role, template.shape[1]) for role in self.roles])
        self.register_buffer("template", template)
        self.register_buffer("removes", torch.tensor([-1 if r.removes is None else r.removes for r in self.roles]))
        self.register_buffer("tie", tie)
        self.delta = nn.Parameter(torch.zeros_like(template))
        self.log_gain = nn.Parameter(torch.zeros(count))
        self.scale_logit = nn.Parameter(torch.full((count,), initial_scale).logit())
        self.user_map = nn.Parameter(torch.randn(count, width, residual_width, generator=generator))
        self.item_map = nn.Parameter(torch.zeros(count, width, residual_width))
        self.dropout = nn.Dropout(dropout)

    def learned(self) -> tuple[Tensor, ...]:
        """What makes the experts other than their start: zero there."""
        return self.delta, self.log_gain, self.item_map

    @property
    def mix(self) -> Float[Tensor, "E M"]:
        """`ω_e = softmax(log π_e + ½ tanh δ_e)`, δ tied inside a balanced pair; a zero of the template stays zero."""
        delta = torch.einsum("emn,en->em", self.tie, self.delta)
        return torch.softmax(self.template.log() + MIX_FREEDOM * torch.tanh(delta), dim=1)

    @property
    def gain(self) -> Float[Tensor, " E"]:
        """`κ_e`: starts at the number of modalities, so that the uniform mixture is the base itself."""
        return self.template.shape[1] * torch.exp(GAIN_FREEDOM * torch.tanh(self.log_gain))

    @property
    def weights(self) -> Float[Tensor, "E M"]:
        """`κ_e ω_em`: what each expert's linear term weighs each modality's score by."""
        return self.gain[:, None] * self.mix

    @property
    def scale(self) -> Float[Tensor, " E"]:
        """`η_e` in (0, 1), shared out over the residual's width."""
        return torch.sigmoid(self.scale_logit) / math.sqrt(self.user_map.shape[2])

    def item_residuals(self, parts: Float[Tensor, "I M D"]) -> Float[Tensor, "I E W"]:
        """`φ_e(i) = tanh((Σ_m ω_em V^m_i) W'_e)`."""
        mixed = torch.einsum("em,imd->ied", self.mix, parts)
        return torch.tanh(torch.einsum("ied,edw->iew", mixed, self.item_map))

    def user_residuals(self, users: Float[Tensor, "B D"]) -> Float[Tensor, "B E W"]:
        """`η_e tanh(u W_e)`."""
        return self.scale[:, None] * torch.tanh(torch.einsum("bd,edw->bew", users, self.user_map))

    def linear_scores(
        self, part_scores: Float[Tensor, "B C M"], predicted: Float[Tensor, "B C M M"]
    ) -> Float[Tensor, "B C E"]:
        """The linear term from `⟨u, V^m⟩` and, per removed modality r, `⟨u, V^r A_{r,m}⟩` (axes r, m)."""
        direct = torch.einsum("bcm,em->bce", part_scores, self.mix)
        chosen = nn.functional.one_hot(self.removes.clamp_min(0), predicted.shape[2]) * (self.removes >= 0)[:, None]
        removed = torch.einsum("bcrm,er,em->bce", predicted, chosen.float(), self.mix)
        return self.gain * (direct - removed)

    def forward(
        self,
        part_scores: Float[Tensor, "B C M"],
        predicted: Float[Tensor, "B C M M"],
        user_residuals: Float[Tensor, "B E W"],
        item_residuals: Float[Tensor, "B C E W"],
    ) -> Float[Tensor, "B C E"]:
        """Each expert's score of each pair."""
        residual: Tensor = self.dropout(torch.einsum("bew,bcew->bce", user_residuals, item_residuals))
        return self.linear_scores(part_scores, predicted) + residual


def _tied(role: StructuredExpert, n_modalities: int) -> Tensor:
    """(M, M) averaging matrix: identity, but for the modalities of a balanced pair, which share one δ."""
    tie = torch.eye(n_modalities)
    for row in role.tied:
        tie[row] = 0
        tie[row, list(role.tied)] = 1 / len(role.tied)
    return tie
