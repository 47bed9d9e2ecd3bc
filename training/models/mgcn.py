"""MGCN (Yu et al. 2023, "Multi-view graph convolutional network for multimedia recommendation").

Axes: `U` users, `I` items, `M` content modalities, `D` width.

    purified   x_m = ID ⊙ σ(W_m (P_m f_m))                    behaviour-guided purifier
    views      h = LightGCN(users, ID),   x_m ← S_m x_m,   users' x_m = R̂ x_m
    common     c = Σ_m w_m x_m,   w = softmax_m(q(x_m))
    side       s = (Σ_m p_m ⊙ (x_m − c) + c) / (M + 1),   p_m = σ(G_m h)       behaviour-aware fuser
    vectors    h + s;   loss: BPR + reg · norms + λ (InfoNCE(s, h) over the batch's items and users, τ = 0.2)

Published for two modalities; the sums here are the same for any number.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import BaseModel
from scipy import sparse
from torch import Tensor, nn

from training.data.dataset import Dataset
from training.models.embedding.content import directed_knn
from training.models.embedding.content_network import SideViewConfig, SideViewNetwork, gate
from training.models.embedding.material import Material
from training.models.embedding.network import Tables, as_array
from training.models.embedding.recipe import EmbeddingRecipe
from training.models.propagation import Propagation


class MgcnConfig(SideViewConfig):
    """MGCN's settings."""


class MgcnNetwork(SideViewNetwork):
    """Purifier, views and fuser."""

    def __init__(self, train: sparse.csr_array, dataset: Dataset, config: MgcnConfig, device: torch.device) -> None:
        super().__init__(train, dataset, config, device)
        width = config.embedding_size
        self.purifiers = nn.ModuleList(gate(width) for _ in self.features.names)
        self.preferences = nn.ModuleList(gate(width) for _ in self.features.names)
        self.attention = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1, bias=False))
        self._content = [
            Propagation(directed_knn(matrix, config.neighbours, weighted=True), device)
            for matrix in dataset.features.values()
        ]

    def side_parts(self, behaviour: Tensor) -> list[Tensor]:
        """An addend per modality: the side view is linear in the modalities' views once weights are known."""
        views = [
            self.content_view(purify(features), graph)
            for purify, features, graph in zip(self.purifiers, self.projected(), self._content, strict=True)
        ]
        weights = torch.softmax(torch.cat([self.attention(view) for view in views], dim=1), dim=1)
        preferences = [prefer(behaviour) for prefer in self.preferences]
        preferred = torch.stack(preferences).sum(dim=0)
        return [
            # x_m stands in its own residual, and with its weight w_m in the common part of everybody's
            (own + weights[:, m : m + 1] * (1 - preferred)) * view / (len(views) + 1)
            for m, (own, view) in enumerate(zip(preferences, views, strict=True))
        ]

    def tables(self) -> Tables:
        """Each modality has its addend of the side view."""
        vectors, n_users = self(), len(self.users)
        sides = self.side_parts(vectors.views["behaviour"])
        parts = {name: as_array(side[n_users:]) for name, side in zip(self.features.names, sides, strict=True)}
        return Tables(as_array(vectors.users), as_array(vectors.items), parts)


class MgcnRecipe(EmbeddingRecipe):
    """A strong multimodal baseline."""

    name: ClassVar[str] = "mgcn"
    config_type: ClassVar[type[BaseModel]] = MgcnConfig
    needs_content: ClassVar[bool] = True

    def network(self, material: Material, config: MgcnConfig) -> MgcnNetwork:
        """Over the training graph and the dataset's features."""
        return MgcnNetwork(material.split.train, material.dataset, config, material.device)
