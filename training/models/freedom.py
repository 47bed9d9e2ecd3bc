"""FREEDOM (Zhou and Shen 2023, "A tale of two graphs: Freezing and denoising graph structures for multimodal
recommendation"): a frozen item–item graph beside a user–item graph that is pruned anew every epoch.

Axes: `U` users, `I` items, `D` width. Item vector = LightGCN item + ID table over the frozen graph; BPR, plus the same
loss with each modality's projected features in the place of the item (weight `reg`). Kept edges are drawn without
replacement in proportion to `1/√(d_u d_i)`. The frozen graph is linear in the ID table, so a modality's part is exact.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from pydantic import BaseModel, Field
from scipy import sparse
from torch import Tensor

from training.data.dataset import Dataset
from training.fit.losses import bpr_loss
from training.graph.normalise import symmetric_normalise
from training.models.embedding.config import ContentConfig
from training.models.embedding.content import directed_knn
from training.models.embedding.content_network import ContentNetwork
from training.models.embedding.light_propagation import LightPropagation
from training.models.embedding.material import Material
from training.models.embedding.network import Tables, Triples, Vectors, as_array, bpr_of
from training.models.embedding.recipe import EmbeddingRecipe
from training.models.propagation import Propagation


class FreedomConfig(ContentConfig):
    """FREEDOM's settings."""

    reg: float = Field(default=1e-3, ge=0)
    """Weight of the loss with projected features."""
    layers: int = Field(default=2, ge=0)
    """Hops on the user-item graph."""
    content_layers: int = Field(default=1, ge=1)
    """Hops on the item-item graph."""
    neighbours: int = Field(default=10, ge=1)
    """k of the item-item graph, the item itself counted."""
    visual_weight: float = Field(default=0.1, ge=0, le=1)
    """Share of the modality `visual` in the item-item graph; the others share the rest alike."""
    pruned: float = Field(default=0.8, ge=0, lt=1)
    """Share of the user-item edges that an epoch goes without."""


class FreedomNetwork(ContentNetwork):
    """Free tables, two graphs, projections for the auxiliary loss."""

    def __init__(self, train: sparse.csr_array, dataset: Dataset, config: FreedomConfig, device: torch.device) -> None:
        super().__init__(dataset, config)
        self._config, self._train, self._device = config, train, device
        self._whole = LightPropagation(train, config.layers, device)
        self._pruned = self._whole
        weights = modality_weights(self.features.names, config.visual_weight)
        self._content = {
            name: Propagation(weights[name] * directed_knn(matrix, config.neighbours, weighted=False), device)
            for name, matrix in dataset.features.items()
        }

    def begin_epoch(self, epoch: int, rng: np.random.Generator) -> None:
        """Prune the user-item graph."""
        if self._config.pruned:
            kept = keep_edges(self._train, 1 - self._config.pruned, rng)
            self._pruned = LightPropagation(kept, self._config.layers, self._device)

    def forward(self) -> Vectors:
        """Pruned while training, whole otherwise."""
        propagation = self._pruned if self.training else self._whole
        users, items = propagation(self.users, self.items)
        for part in self._content_parts().values():
            items = items + part
        return Vectors(users, items)

    def _content_parts(self) -> dict[str, Tensor]:
        """What the last hop over each modality's share of the frozen graph brings; the hops before run over all."""
        below: Tensor = self.items
        for _ in range(self._config.content_layers - 1):
            below = torch.stack([graph(below) for graph in self._content.values()]).sum(dim=0)
        return {name: graph(below) for name, graph in self._content.items()}

    def losses(self, batch: Triples, epochs: float) -> dict[str, Tensor]:
        """BPR of the vectors and, weighted, of every modality's projected features."""
        vectors = self()
        users = vectors.users[batch.users]
        content = torch.stack(
            [
                bpr_loss(users, project(features[batch.positives]), project(features[batch.negatives]))
                for project, features in zip(self.projections, self.features, strict=True)
            ]
        ).sum()
        return {"bpr": bpr_of(vectors, batch), "content": self._config.reg * content}

    def tables(self) -> Tables:
        """Each modality has what its share of the frozen graph brings."""
        vectors = self()
        parts = {name: as_array(part) for name, part in self._content_parts().items()}
        return Tables(as_array(vectors.users), as_array(vectors.items), parts)


def modality_weights(names: list[str], visual: float) -> dict[str, float]:
    """Each modality's share of the item-item graph; equal ones where there is no `visual` beside others."""
    if "visual" not in names or len(names) == 1:
        return dict.fromkeys(names, 1 / len(names))
    return {name: visual if name == "visual" else (1 - visual) / (len(names) - 1) for name in names}


def keep_edges(train: sparse.csr_array, share: float, rng: np.random.Generator) -> sparse.csr_array:
    """`share` of the edges, drawn without replacement in proportion to their normalised weights, as ones again.

    Exponential keys make the draw a sort (Efraimidis and Spirakis 2006).
    """
    weights = symmetric_normalise(train).data
    n = max(1, int(len(weights) * share))
    keys = rng.exponential(size=len(weights)) / np.maximum(weights, 1e-30)
    chosen = np.argpartition(keys, n - 1)[:n] if n < len(keys) else np.arange(len(keys))
    owner = np.repeat(np.arange(train.shape[0]), np.diff(train.indptr))
    ones = np.ones(len(chosen), np.float32)
    return sparse.csr_array((ones, (owner[chosen], train.indices[chosen])), shape=train.shape)


class FreedomRecipe(EmbeddingRecipe):
    """A strong multimodal baseline."""

    name: ClassVar[str] = "freedom"
    config_type: ClassVar[type[BaseModel]] = FreedomConfig
    needs_content: ClassVar[bool] = True

    def network(self, material: Material, config: FreedomConfig) -> FreedomNetwork:
        """Over the training graph and the dataset's features."""
        return FreedomNetwork(material.split.train, material.dataset, config, material.device)
