"""VBPR (He and McAuley 2016, "VBPR: Visual Bayesian personalized ranking from implicit feedback"), any modalities.

Axes: `U` users, `I` items, `D` width, `d` width of all features side by side, L2-normalised per modality [ours].

    s(u,i) = β_i + ⟨γ_u, γ_i⟩ + ⟨θ_u, E f_i⟩ + ⟨β', f_i⟩      (equation 4; α and β_u change no ranking and are left out)

As one inner product: users are `[γ_u, θ_u, 1]`, items `[γ_i, E f_i, β_i + ⟨β', f_i⟩]`, and what `f` brings is linear,
so every modality's share in it is exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import BaseModel
from torch import Tensor, nn
from torch.nn import functional

from training.data.features import FeatureMatrix
from training.fit.losses import mean_square_norm
from training.models.embedding.config import EmbeddingConfig
from training.models.embedding.material import Material
from training.models.embedding.network import EmbeddingNetwork, Tables, Triples, Vectors, as_array, bpr_of, xavier_table
from training.models.embedding.recipe import EmbeddingRecipe


class VbprNetwork(EmbeddingNetwork):
    """Latent and content factors."""

    def __init__(
        self, features: Mapping[str, FeatureMatrix], n_users: int, n_items: int, config: EmbeddingConfig
    ) -> None:
        super().__init__()
        width = config.embedding_size
        self._names = list(features)
        self._widths = [matrix.values.shape[1] for matrix in features.values()]
        normalised = [functional.normalize(torch.from_numpy(matrix.values), dim=1) for matrix in features.values()]
        self.features: Tensor
        self.register_buffer("features", torch.cat(normalised, dim=1), persistent=False)
        self.users, self.items = xavier_table(n_users, width), xavier_table(n_items, width)
        self.tastes = xavier_table(n_users, width)
        self.projection = xavier_table(self.features.shape[1], width)
        self.item_bias = nn.Parameter(torch.zeros(n_items))
        self.feature_bias = nn.Parameter(torch.zeros(self.features.shape[1]))
        self._reg = config.reg

    def forward(self) -> Vectors:
        """Everything as one inner product."""
        users = torch.cat([self.users, self.tastes, torch.ones_like(self.users[:, :1])], dim=1)
        bias = self.item_bias + self.features @ self.feature_bias
        items = torch.cat([self.items, self.features @ self.projection, bias[:, None]], dim=1)
        return Vectors(users, items)

    def losses(self, batch: Triples, epochs: float) -> dict[str, Tensor]:
        """BPR with L2 on the vectors of the batch, what content brings to them included.

        The paper penalises `E` itself, once; at a weight that suits factors, content then fits without restraint and
        ends below BPR-MF (training/LOG.md).
        """
        vectors = self()
        users = vectors.users[batch.users, :-1]  # the last coordinate is the constant 1
        norms = mean_square_norm(users, vectors.items[batch.positives], vectors.items[batch.negatives])
        return {"bpr": bpr_of(vectors, batch), "reg": self._reg * norms}

    def tables(self) -> Tables:
        """Each modality has what its own block of features brings."""
        vectors, width, parts, start = self(), self.items.shape[1], {}, 0
        for name, d in zip(self._names, self._widths, strict=True):
            own = slice(start, start + d)
            block, start = self.features[:, own], start + d
            latent = torch.zeros(len(block), width, device=block.device)
            bias = block @ self.feature_bias[own]
            parts[name] = as_array(torch.cat([latent, block @ self.projection[own], bias[:, None]], dim=1))
        return Tables(as_array(vectors.users), as_array(vectors.items), parts)


class VbprRecipe(EmbeddingRecipe):
    """Factorisation with content, as a baseline."""

    name: ClassVar[str] = "vbpr"
    config_type: ClassVar[type[BaseModel]] = EmbeddingConfig
    needs_content: ClassVar[bool] = True

    def network(self, material: Material, config: EmbeddingConfig) -> VbprNetwork:
        """Over the dataset's features."""
        dataset = material.dataset
        return VbprNetwork(dataset.features, dataset.n_users, dataset.n_items, config)
