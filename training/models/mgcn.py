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
from pydantic import BaseModel, Field
from scipy import sparse
from torch import Tensor, nn

from training.data.dataset import Dataset
from training.fit.losses import info_nce, mean_square_norm
from training.models.embedding.config import ContentConfig
from training.models.embedding.content import ContentFeatures, directed_knn
from training.models.embedding.light_propagation import LightPropagation
from training.models.embedding.network import EmbeddingNetwork, Tables, Triples, Vectors, as_array, bpr_of, xavier_table
from training.models.embedding.recipe import EmbeddingRecipe, Material
from training.models.propagation import Propagation

TEMPERATURE = 0.2


class MgcnConfig(ContentConfig):
    """MGCN's settings."""

    layers: int = Field(default=2, ge=0)
    """Hops on the user-item graph."""
    content_layers: int = Field(default=1, ge=1)
    """Hops on each item-item graph."""
    neighbours: int = Field(default=10, ge=1)
    """k of the item-item graphs, the item itself counted."""
    alignment: float = Field(default=0.01, ge=0)
    """Weight λ of the alignment between side and behaviour view."""


class MgcnNetwork(EmbeddingNetwork):
    """Purifier, views and fuser."""

    def __init__(self, train: sparse.csr_array, dataset: Dataset, config: MgcnConfig, device: torch.device) -> None:
        super().__init__()
        width = config.embedding_size
        self.users, self.items = xavier_table(train.shape[0], width), xavier_table(train.shape[1], width)
        self.features = ContentFeatures(dataset.features, trained=config.train_features)
        self.projections = nn.ModuleList(nn.Linear(d, width) for d in self.features.widths)
        self.purifiers = nn.ModuleList(gate(width) for _ in self.features.names)
        self.preferences = nn.ModuleList(gate(width) for _ in self.features.names)
        self.attention = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1, bias=False))
        self._config = config
        self._propagation = LightPropagation(train, config.layers, device)
        self._content = [
            Propagation(directed_knn(matrix, config.neighbours, weighted=True), device)
            for matrix in dataset.features.values()
        ]

    def content_views(self) -> list[Tensor]:
        """Per modality the purified table after its graph: users above items (U + I, D)."""
        views = []
        for project, purify, features, graph in zip(
            self.projections, self.purifiers, self.features, self._content, strict=True
        ):
            items: Tensor = self.items * purify(project(features))
            for _ in range(self._config.content_layers):
                items = graph(items)
            views.append(torch.cat([self._propagation.to_users(items), items]))
        return views

    def side_parts(self, behaviour: Tensor, views: list[Tensor]) -> list[Tensor]:
        """The side view (U + I, D) as one addend per modality: it is linear in the views once weights are known."""
        weights = torch.softmax(torch.cat([self.attention(view) for view in views], dim=1), dim=1)
        preferences = [prefer(behaviour) for prefer in self.preferences]
        preferred = torch.stack(preferences).sum(dim=0)
        return [
            # x_m stands in its own residual, and with its weight w_m in the common part of everybody's
            (own + weights[:, m : m + 1] * (1 - preferred)) * view / (len(views) + 1)
            for m, (own, view) in enumerate(zip(preferences, views, strict=True))
        ]

    def forward(self) -> Vectors:
        """Vectors, and the two views that the alignment compares."""
        behaviour = torch.cat(self._propagation(self.users, self.items))
        side = torch.stack(self.side_parts(behaviour, self.content_views())).sum(dim=0)
        n_users = len(self.users)
        total = behaviour + side
        return Vectors(total[:n_users], total[n_users:], {"behaviour": behaviour, "side": side})

    def losses(self, batch: Triples, epochs: float) -> dict[str, Tensor]:
        """BPR, norms of the final vectors, alignment."""
        return view_losses(self(), batch, reg=self._config.reg, alignment=self._config.alignment)

    def tables(self) -> Tables:
        """Each modality has its addend of the side view."""
        vectors, n_users = self(), len(self.users)
        sides = self.side_parts(vectors.views["behaviour"], self.content_views())
        parts = {name: as_array(side[n_users:]) for name, side in zip(self.features.names, sides, strict=True)}
        return Tables(as_array(vectors.users), as_array(vectors.items), parts)


def gate(width: int) -> nn.Sequential:
    """`σ(W x + b)`."""
    return nn.Sequential(nn.Linear(width, width), nn.Sigmoid())


def view_losses(vectors: Vectors, batch: Triples, *, reg: float, alignment: float) -> dict[str, Tensor]:
    """The loss of MGCN and SMORE: BPR, norms of the final vectors, InfoNCE between the side and the behaviour view."""
    users, positives = batch.users, batch.positives + len(vectors.users)
    norms = mean_square_norm(vectors.users[users], vectors.items[batch.positives], vectors.items[batch.negatives])
    side, behaviour = vectors.views["side"], vectors.views["behaviour"]
    aligned = [info_nce(side[rows], behaviour[rows], TEMPERATURE).mean() for rows in (positives, users)]
    return {"bpr": bpr_of(vectors, batch), "reg": reg * norms, "alignment": alignment * torch.stack(aligned).sum()}


class MgcnRecipe(EmbeddingRecipe):
    """A strong multimodal baseline."""

    name: ClassVar[str] = "mgcn"
    config_type: ClassVar[type[BaseModel]] = MgcnConfig
    needs_content: ClassVar[bool] = True

    def network(self, material: Material, config: MgcnConfig) -> MgcnNetwork:
        """Over the training graph and the dataset's features."""
        return MgcnNetwork(material.split.train, material.dataset, config, material.device)
