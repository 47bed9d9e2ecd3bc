"""What networks over content features share: free tables of users and items, and the features at their width.

Axes: `U` users, `I` items, `D` width.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from pydantic import Field
from scipy import sparse
from torch import Tensor, nn

from training.data.dataset import Dataset
from training.fit.losses import info_nce, mean_square_norm
from training.models.embedding.config import ContentConfig
from training.models.embedding.content import ContentFeatures
from training.models.embedding.light_propagation import LightPropagation
from training.models.embedding.network import EmbeddingNetwork, Triples, Vectors, bpr_of, xavier_table
from training.models.propagation import Propagation

TEMPERATURE = 0.2


class ContentNetwork(EmbeddingNetwork):
    """Tables, features and a projection per modality; freshly initialised from torch's generator in this order."""

    def __init__(self, dataset: Dataset, config: ContentConfig) -> None:
        super().__init__()
        width = config.embedding_size
        self.users, self.items = xavier_table(dataset.n_users, width), xavier_table(dataset.n_items, width)
        self.features = ContentFeatures(dataset.features, trained=config.train_features)
        self.projections = nn.ModuleList(nn.Linear(d, width) for d in self.features.widths)

    def projected(self) -> list[Tensor]:
        """P_m f_m (I, D) of each modality."""
        return [project(table) for project, table in zip(self.projections, self.features, strict=True)]


class SideViewConfig(ContentConfig):
    """Settings of MGCN, and of what follows it."""

    layers: int = Field(default=2, ge=0)
    """Hops on the user-item graph."""
    content_layers: int = Field(default=1, ge=1)
    """Hops on each item-item graph."""
    neighbours: int = Field(default=10, ge=1)
    """k of the item-item graphs, the item itself counted."""
    alignment: float = Field(default=0.01, ge=0)
    """Weight λ of the alignment between side and behaviour view."""


class SideViewNetwork(ContentNetwork):
    """Behaviour view h and side view s of users above items (U + I, D): vectors h + s, aligned by InfoNCE."""

    def __init__(self, train: sparse.csr_array, dataset: Dataset, config: SideViewConfig, device: torch.device) -> None:
        super().__init__(dataset, config)
        self._config = config
        self._propagation = LightPropagation(train, config.layers, device)

    @abstractmethod
    def side_parts(self, behaviour: Tensor) -> list[Tensor]:
        """The side view as addends, the modalities' first, in their order."""

    def content_view(self, gates: Tensor, graph: Propagation) -> Tensor:
        """(U + I, D) `x = ID ⊙ gates` over a content graph, users being one hop from their items."""
        items: Tensor = self.items * gates
        for _ in range(self._config.content_layers):
            items = graph(items)
        return torch.cat([self._propagation.to_users(items), items])

    def forward(self) -> Vectors:
        """Vectors, and the two views that the alignment compares."""
        behaviour = torch.cat(self._propagation(self.users, self.items))
        side = torch.stack(self.side_parts(behaviour)).sum(dim=0)
        total, n_users = behaviour + side, len(self.users)
        return Vectors(total[:n_users], total[n_users:], {"behaviour": behaviour, "side": side})

    def losses(self, batch: Triples, epochs: float) -> dict[str, Tensor]:
        """BPR, norms of the final vectors, InfoNCE between the side and the behaviour view."""
        vectors = self()
        users, positives = batch.users, batch.positives + len(self.users)
        norms = mean_square_norm(vectors.users[users], vectors.items[batch.positives], vectors.items[batch.negatives])
        side, behaviour = vectors.views["side"], vectors.views["behaviour"]
        aligned = [info_nce(side[rows], behaviour[rows], TEMPERATURE).mean() for rows in (positives, users)]
        return {
            "bpr": bpr_of(vectors, batch),
            "reg": self._config.reg * norms,
            "alignment": self._config.alignment * torch.stack(aligned).sum(),
        }


def gate(width: int) -> nn.Sequential:
    """`σ(W x + b)`."""
    return nn.Sequential(nn.Linear(width, width), nn.Sigmoid())
