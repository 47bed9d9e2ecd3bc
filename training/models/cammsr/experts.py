"""An item as a mixture of experts, gated by what category it seems to be of.

Axes: `I` items, `B` items of a batch, `M` content modalities, `C` categories, `T` experts, `D` width.

    experts   id: e_i;   m: P_m f_m;   synergy of a pair (a, b): W_ab (x_a ⊙ x_b)
    category  c = Q [mean of the modalities' experts],   guide q = W_q (softmax(c) K)
    gate      g = softmax_t(⟨q, W_k x_t⟩ / √D);   item = Σ_t g_t x_t

Experts that read a missing modality are left out of the softmax. Category labels are several per item, so the auxiliary
loss is binary cross-entropy per category.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from model_store.manifest import Term
from training.data.features import FeatureMatrix
from training.models.embedding.network import xavier_table
from training.models.item_item import BEHAVIOUR


@dataclass(frozen=True)
class MixedItems:
    """Items and what they are made of."""

    vectors: Tensor
    """(B, D)"""
    experts: Tensor
    """(B, T, D)"""
    gates: Tensor
    """(B, T)"""
    category_logits: Tensor
    """(B, C)"""


class CategoryGuidedExperts(nn.Module):
    """Item experts and their gate."""

    def __init__(self, features: Mapping[str, FeatureMatrix], n_items: int, n_categories: int, width: int) -> None:
        super().__init__()
        names = [BEHAVIOUR, *features]
        self._widths = [matrix.values.shape[1] for matrix in features.values()]
        blocks = [functional.normalize(torch.from_numpy(matrix.values), dim=1) for matrix in features.values()]
        self.features: Tensor
        self.register_buffer("features", torch.cat(blocks, dim=1), persistent=False)
        self.pairs = list(combinations(range(len(names)), 2))
        has = np.stack([np.ones(n_items, bool), *(matrix.present for matrix in features.values())], axis=1)
        able = np.concatenate([has, np.stack([has[:, a] & has[:, b] for a, b in self.pairs], axis=1)], axis=1)
        self.able: Tensor
        self.register_buffer("able", torch.from_numpy(able), persistent=False)
        self.identity = xavier_table(n_items, width)
        self.projections = nn.ModuleList(nn.Linear(d, width) for d in self._widths)
        self.synergies = nn.ModuleList(nn.Linear(width, width) for _ in self.pairs)
        self.classifier = nn.Linear(width, n_categories)
        self.categories = xavier_table(n_categories, width)
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.terms = [_term("id", [BEHAVIOUR]), *(_term(name, [name]) for name in features)]
        self.terms += [_term(f"synergy-{names[a]}-{names[b]}", [names[a], names[b]]) for a, b in self.pairs]

    def forward(self, rows: Tensor, *, swapped: bool = False) -> MixedItems:
        """The items of `rows` (B,); `swapped` gives every modality's expert the content of the next one."""
        blocks = torch.split(self.features[rows], self._widths, dim=1)
        content = [project(block) for project, block in zip(self.projections, blocks, strict=True)]
        if swapped:
            content = [*content[1:], content[0]]
        singles = [self.identity[rows], *content]
        pairs = [synergy(singles[a] * singles[b]) for (a, b), synergy in zip(self.pairs, self.synergies, strict=True)]
        experts = torch.stack([*singles, *pairs], dim=1)
        category_logits = self.classifier(torch.stack(content).mean(dim=0))
        guide = self.query(torch.softmax(category_logits, dim=1) @ self.categories)
        logits = (self.key(experts) @ guide[:, :, None])[:, :, 0] / experts.shape[2] ** 0.5
        gates = torch.softmax(logits.masked_fill(~self.able[rows], -torch.inf), dim=1)
        return MixedItems((gates[:, :, None] * experts).sum(dim=1), experts, gates, category_logits)


def _term(name: str, modalities: list[str]) -> Term:
    return Term(name=name, role="modality", modalities=dict.fromkeys(modalities, 1 / len(modalities)))
