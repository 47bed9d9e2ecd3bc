"""MAMEX (arXiv 2508.08042): items are mixtures of experts over their modalities, without an identity of their own.

Axes: `U` users, `I` items, `M` content modalities, `E` experts per modality, `D` width.

    mixture   h_m = Σ_{e ∈ top 2} g_me (W_me f_m + b_me),   g_m = softmax over the top 2 of A_m f_m + a_m
    fusion    i = Σ_m β_m h_m,   β = softmax(MLP([h_1; …; h_M]))
    score     ⟨u, i⟩, u a free table
    loss      BPR + reg · norms + Σ_m MSE(i, h_m) + Σ_m KL(uniform ‖ mean π_m) + KL(uniform ‖ mean β)

`π_m` is the softmax over all experts' logits. BPR is over a batch's triples; squared errors and means are over the
whole catalogue, items without interactions included, as in the public code: it is all that their fusion is trained by.
Features are L2-normalised. The sums of the loss carry equal weights. A missing modality has β_m = 0 [ours: the public
code reads zeros]. Negatives come from items with interactions [ours: the public code draws cold ones too; an option].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from torch import Tensor, nn
from torch.nn import functional

from model_store.manifest import Term
from training.data.features import FeatureMatrix
from training.data.splits import Split
from training.fit.losses import bpr_loss, mean_square_norm
from training.models.embedding.config import EmbeddingConfig
from training.models.embedding.material import Material
from training.models.embedding.network import EmbeddingNetwork, ServedTerm, Tables, Triples, Vectors, as_array
from training.models.embedding.recipe import EmbeddingRecipe


class MamexConfig(EmbeddingConfig):
    """MAMEX's settings."""

    embedding_size: int = Field(default=128, ge=1)
    """Width D."""
    reg: float = Field(default=1e-6, ge=0)
    """Weight of the batch's squared norms."""
    evaluate_every: int | None = Field(default=10, ge=1)
    """Epochs between validations; with `patience` as in the public code, for its curve dips before it rises again."""
    experts: int = Field(default=4, ge=1)
    """Experts E per modality."""
    top_k: int = Field(default=2, ge=1)
    """Experts that count for an item."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout in the fusion."""
    user_std: float = Field(default=0.1, gt=0)
    """Standard deviation of the users' initial values."""
    alignment: float = Field(default=1.0, ge=0)
    """Weight of the squared errors between an item and its modalities."""
    balance: float = Field(default=1.0, ge=0)
    """Weight of the divergences that keep all experts and modalities in use."""
    cold_negatives: bool = False
    """Draw items without interactions as negatives too."""
    chosen_among: Literal["cold", "all"] = "all"
    """Which items validation ranks to choose the epoch where the split holds items out: all, as for other models, or
    those alone, as the public code does."""


@dataclass(frozen=True)
class Mixed:
    """Items with what they are made of."""

    vectors: Tensor
    """(I, D)"""
    modalities: Tensor
    """(I, M, D) h"""
    experts: list[Tensor]
    """(I, E, D) per modality, before the gates"""
    gates: list[Tensor]
    """(I, E) g per modality"""
    chances: list[Tensor]
    """(I, E) π per modality"""
    fusion: Tensor
    """(I, M) β"""


class MamexNetwork(EmbeddingNetwork):
    """Mixtures, fusion, and a free table of users."""

    def __init__(self, features: Mapping[str, FeatureMatrix], n_users: int, config: MamexConfig) -> None:
        super().__init__()
        self._config, self.names, width = config, list(features), config.embedding_size
        self._widths = [matrix.values.shape[1] for matrix in features.values()]
        blocks = [functional.normalize(torch.from_numpy(matrix.values), dim=1) for matrix in features.values()]
        self.features: Tensor
        self.register_buffer("features", torch.cat(blocks, dim=1), persistent=False)
        present = torch.from_numpy(np.stack([matrix.present for matrix in features.values()], axis=1))
        self.present: Tensor
        self.register_buffer("present", present | ~present.any(dim=1, keepdim=True), persistent=False)
        self.users = nn.Parameter(torch.randn(n_users, width) * config.user_std)
        self.experts = nn.ModuleList(nn.Linear(d, config.experts * width) for d in self._widths)
        self.gates = nn.ModuleList(nn.Linear(d, config.experts) for d in self._widths)
        self.fusion = nn.Sequential(
            nn.Linear(len(self.names) * width, width),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(width, len(self.names)),
        )

    def mixed(self) -> Mixed:
        """All items."""
        experts, gates, chances = [], [], []
        for block, expert, gate in zip(
            torch.split(self.features, self._widths, dim=1), self.experts, self.gates, strict=True
        ):
            logits = gate(block)
            experts.append(expert(block).unflatten(1, (self._config.experts, -1)))
            gates.append(top_softmax(logits, self._config.top_k))
            chances.append(torch.softmax(logits, dim=1))
        modalities = torch.stack([(g[:, :, None] * e).sum(dim=1) for g, e in zip(gates, experts, strict=True)], dim=1)
        fusion = torch.softmax(self.fusion(modalities.flatten(1)).masked_fill(~self.present, -torch.inf), dim=1)
        vectors = (fusion[:, :, None] * modalities).sum(dim=1)
        return Mixed(vectors, modalities, experts, gates, chances, fusion)

    def forward(self) -> Vectors:
        """All users and items."""
        return Vectors(self.users, self.mixed().vectors)

    def losses(self, batch: Triples, epochs: float) -> dict[str, Tensor]:
        """Triples of the batch, errors and balance over all items."""
        mixed = self.mixed()
        users, positives, negatives = (
            self.users[batch.users], mixed.vectors[batch.positives], mixed.vectors[batch.negatives],
        )  # fmt: skip
        apart = (mixed.vectors[:, None] - mixed.modalities).square().mean(dim=2)
        has = [(m, present) for m, present in enumerate(self.present.T) if present.any()]
        alignment = torch.stack([apart[present, m].mean() for m, present in has]).sum()
        balance = torch.stack([from_uniform(chances) for chances in (*mixed.chances, mixed.fusion)]).sum()
        return {
            "bpr": bpr_loss(users, positives, negatives),
            "reg": self._config.reg * mean_square_norm(users, positives, negatives),
            "alignment": self._config.alignment * alignment,
            "balance": self._config.balance * balance,
        }

    def tables(self) -> Tables:
        """A term per expert, its weight `β_m g_me`."""
        mixed = self.mixed()
        terms = tuple(
            ServedTerm(
                Term(name=f"{name}-{e + 1}", role="modality", modalities={name: 1.0}),
                as_array(mixed.experts[m][:, e]),
                as_array(mixed.fusion[:, m] * mixed.gates[m][:, e]),
            )
            for m, name in enumerate(self.names)
            for e in range(self._config.experts)
        )
        return Tables(as_array(self.users), as_array(mixed.vectors), terms=terms)


def top_softmax(logits: Tensor, k: int) -> Tensor:
    """(B, E) softmax over each row's k largest logits, 0 elsewhere."""
    values, chosen = logits.topk(min(k, logits.shape[1]), dim=1)
    kept = torch.softmax(values, dim=1)  # single precision under autocast, where the logits are not
    return torch.zeros_like(logits, dtype=kept.dtype).scatter(1, chosen, kept)


def from_uniform(gates: Tensor) -> Tensor:
    """`KL(uniform ‖ mean of the gates)` of gates (B, E)."""
    mean = gates.mean(dim=0).clamp_min(1e-9)
    return -mean.log().mean() - float(np.log(len(mean)))


class MamexRecipe(EmbeddingRecipe):
    """Made for items without training interactions."""

    name: ClassVar[str] = "mamex"
    config_type: ClassVar[type[BaseModel]] = MamexConfig
    needs_content: ClassVar[bool] = True

    def network(self, material: Material, config: MamexConfig) -> MamexNetwork:
        """Over the dataset's features."""
        return MamexNetwork(material.dataset.features, material.dataset.n_users, config)

    def allowed_negatives(self, split: Split, config: MamexConfig) -> NDArray[np.bool_] | None:
        """Warm items, unless cold ones are asked for."""
        return None if config.cold_negatives else warm_items(split)

    def validated_among(self, split: Split, config: MamexConfig) -> NDArray[np.bool_] | None:
        """The cold items where they are asked for and some are in validation."""
        held_out = split.cold_items[split.valid.indices].any()
        return ~warm_items(split) if config.chosen_among == "cold" and held_out else None


def warm_items(split: Split) -> NDArray[np.bool_]:
    """(I,) items with training interactions."""
    return np.bincount(split.train.indices, minlength=split.train.shape[1]) > 0
