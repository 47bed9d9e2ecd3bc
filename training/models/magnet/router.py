"""The router: which experts count for a pair.

Axes: `B` users of a batch, `C` candidates, `I` items, `E` experts, `M` modalities, `F` features of a node.

    ℓ_e(u,i) = a_e(u) + c_e(i) + Σ_m γ_em tanh(z_m(u,i) / 3),   p = softmax(ℓ),   g = the top K of p, renormalised

`a` and `c` are small functions of what a node is, so they exist for new users and items; the pair enters through its
part scores, standardised over the catalogue. The router returns its decision and the statistics; it keeps neither.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from training.models.magnet.node_features import OF_DEGREE

LEAST_SPREAD = 0.2
"""What hardly varies is not blown up: where nearly every item has a picture, one without would be an extreme input."""
LEAN = 1.0
"""Head start of the dominant experts: with one per modality in the top K, the mixture starts as the base itself."""


@dataclass(frozen=True)
class Routing:
    """A decision for every pair, before and after sparsification."""

    gates: Float[Tensor, "B C E"]
    probabilities: Float[Tensor, "B C E"]
    logits: Float[Tensor, "B C E"]


@dataclass(frozen=True)
class RoutingStatistics:
    """Entropies in [0, 1] (natural log over log E), of the mean load and of single pairs."""

    load_entropy: Tensor
    pair_entropy: Tensor
    load: Float[Tensor, " E"]

    @property
    def effective_experts(self) -> float:
        """`E^H_load`: how many experts the load amounts to."""
        return float(len(self.load) ** float(self.load_entropy.detach()))

    @property
    def relative_min_load(self) -> float:
        """The least used expert's load in units of the uniform one."""
        return float(self.load.detach().min() * len(self.load))


class NodeFunction(nn.Module):
    """A small function of a node's standardised features: one tanh layer, output near zero at the start.

    Of features beyond those it was made for, if there are any, it reads the first F.
    """

    mean: Tensor  # (F,)
    scale: Tensor  # (F,)
    prior: Tensor  # (E,)

    def __init__(
        self, features: Float[Tensor, "N F"], hidden: int, prior: Float[Tensor, " E"], generator: torch.Generator
    ) -> None:
        super().__init__()
        self.register_buffer("prior", prior.clone())
        self.register_buffer("mean", torch.zeros(features.shape[1]))
        self.register_buffer("scale", torch.ones(features.shape[1]))
        self.standardise_by(features)
        self.w1 = nn.Parameter(torch.randn(features.shape[1], hidden, generator=generator) / features.shape[1] ** 0.5)
        self.b1 = nn.Parameter(torch.zeros(hidden))
        self.w2 = nn.Parameter(torch.randn(hidden, len(prior), generator=generator) * 0.02)
        self.b2 = nn.Parameter(torch.zeros(len(prior)))

    def standardise_by(self, features: Float[Tensor, "N F"]) -> None:
        """Read features in units of how these vary."""
        self.mean.copy_(features.mean(dim=0))
        if len(features):
            self.scale.copy_(features.std(dim=0, unbiased=False).clamp_min(LEAST_SPREAD))

    def ignore(self) -> None:
        """Leave only the prior and a learned constant: every node has the same logits."""
        self.w2.data.zero_()
        for parameter in (self.w1, self.b1, self.w2):
            parameter.requires_grad_(False)

    def forward(self, features: Float[Tensor, "N F"]) -> Float[Tensor, "N E"]:
        """Logits of each node; weight decay draws them to the prior."""
        standardised = (self._read(features) - self.mean) / self.scale
        return torch.tanh(standardised @ self.w1 + self.b1) @ self.w2 + self.b2 + self.prior

    def _read(self, features: Float[Tensor, "N _"]) -> Float[Tensor, "N F"]:
        return features[:, : len(self.mean)]


class PairRouter(nn.Module):
    """`a`, `c` and γ."""

    def __init__(
        self,
        user_features: Float[Tensor, "U F"],
        item_features: Float[Tensor, "I G"],
        prior: Float[Tensor, " E"],
        *,
        n_modalities: int,
        hidden: int,
        reads: str = "pair",
        top_k: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.top_k = min(top_k, len(prior))
        self.user = NodeFunction(user_features, hidden, torch.zeros_like(prior), generator)
        known = item_features if reads == "item" else item_features[:, :OF_DEGREE]
        self.item = NodeFunction(known, hidden, prior, generator)
        self.pair_weights = nn.Parameter(torch.zeros(len(prior), n_modalities), requires_grad=reads == "pair")
        if reads in {"user", "nothing"}:
            self.item.ignore()
        if reads in {"item", "nothing"}:
            self.user.ignore()

    def learned(self) -> tuple[Tensor, ...]:
        """What makes the logits other than the prior: (near) zero at the start."""
        functions = (self.user, self.item)
        return self.pair_weights, *(f.w2 for f in functions), *(f.b2 for f in functions)

    def forward(
        self,
        user_logits: Float[Tensor, "B E"],
        item_logits: Float[Tensor, "#B C E"],
        cues: Float[Tensor, "B C M"],
    ) -> Routing:
        """The decision for every pair."""
        logits = user_logits[:, None] + item_logits + cues @ self.pair_weights.T
        probabilities = torch.softmax(logits, dim=-1)
        gates = probabilities
        if self.top_k < logits.shape[-1]:
            kept = torch.zeros_like(probabilities).scatter(-1, logits.topk(self.top_k, dim=-1).indices, 1.0)
            gates = probabilities * kept
            gates = gates / gates.sum(dim=-1, keepdim=True)
        return Routing(gates, probabilities, logits)


def statistics(probabilities: Float[Tensor, "... E"]) -> RoutingStatistics:
    """Use of the experts and hesitation per pair, from the probabilities before top-k."""
    flat = probabilities.reshape(-1, probabilities.shape[-1])
    if flat.shape[1] == 1:
        return RoutingStatistics(flat.new_ones(()), flat.new_zeros(()), flat.mean(dim=0))
    most = math.log(flat.shape[1])
    load = flat.mean(dim=0)
    return RoutingStatistics(_entropy(load) / most, _entropy(flat).mean() / most, load)


def _entropy(probabilities: Float[Tensor, "*pairs E"]) -> Float[Tensor, "*pairs"]:
    """In nats; with a finite gradient where a probability is 0."""
    return -(probabilities * probabilities.clamp_min(1e-12).log()).sum(dim=-1)
