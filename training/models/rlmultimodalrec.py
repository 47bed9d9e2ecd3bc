"""RLMultimodalRec (arXiv 2506.00107, from its abstract): LightGCN items plus a gated fusion of their modalities.

Axes: `U` users, `I` items, `M` content modalities, `D` width.

    z_m = P_m f_m,   z = Σ_m g_m ⊙ z_m,   item = LightGCN item + z,   user = LightGCN user;   BPR + reg · norms

For two modalities `g_1 = σ(W [z_1; z_2] + b)`, `g_2 = 1 − g_1` as published; a softmax over modalities per coordinate
is the same for any number. The fused vector is in the loss as in the score.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import BaseModel, Field
from scipy import sparse
from torch import Tensor, nn

from training.data.dataset import Dataset
from training.fit.losses import mean_square_norm
from training.models.embedding.config import ContentConfig
from training.models.embedding.content_network import ContentNetwork
from training.models.embedding.light_propagation import LightPropagation
from training.models.embedding.material import Material
from training.models.embedding.network import (
    Tables,
    Triples,
    Vectors,
    as_array,
    bpr_of,
    collaborative_term,
    modality_term,
)
from training.models.embedding.recipe import EmbeddingRecipe


class RlMultimodalConfig(ContentConfig):
    """RLMultimodalRec's settings."""

    train_features: bool = False
    """Let the features themselves be trained on from their values: as a part of the item's vector they are then free
    vectors of their own, and overfit (training/LOG.md)."""
    layers: int = Field(default=2, ge=0)
    """Hops on the user-item graph."""


class RlMultimodalNetwork(ContentNetwork):
    """Free tables, the graph, the gated fusion."""

    def __init__(
        self, train: sparse.csr_array, dataset: Dataset, config: RlMultimodalConfig, device: torch.device
    ) -> None:
        super().__init__(dataset, config)
        width, count = config.embedding_size, len(self.features)
        self.gate = nn.Linear(count * width, (count - 1) * width) if count > 1 else None
        self._config = config
        self._propagation = LightPropagation(train, config.layers, device)

    def gated(self) -> tuple[Tensor, Tensor]:
        """`g` and `z`, both (I, M, D)."""
        z = torch.stack(self.projected(), dim=1)
        if self.gate is None:
            return torch.ones_like(z), z
        logits = self.gate(z.flatten(1)).unflatten(1, (z.shape[1] - 1, -1))
        # the last modality's logit is 0: with two modalities this is σ and 1 − σ
        return torch.softmax(torch.cat([logits, torch.zeros_like(z[:, :1])], dim=1), dim=1), z

    def forward(self) -> Vectors:
        """Propagated users and items, the fusion added to the items."""
        users, items = self._propagation(self.users, self.items)
        gate, z = self.gated()
        return Vectors(users, items + (gate * z).sum(dim=1))

    def losses(self, batch: Triples, epochs: float) -> dict[str, Tensor]:
        """BPR of the fused vectors, norms of the batch's rows of the free tables."""
        norms = mean_square_norm(self.users[batch.users], self.items[batch.positives], self.items[batch.negatives])
        return {"bpr": bpr_of(self(), batch), "reg": self._config.reg * norms}

    def tables(self) -> Tables:
        """The LightGCN item as base term; a term per modality, its weight the mean of its gate over coordinates."""
        users, items = self._propagation(self.users, self.items)
        gate, z = self.gated()
        weight = gate.mean(dim=2)
        own = gate * z / weight[:, :, None]
        terms = [collaborative_term(as_array(items))]
        terms += [
            modality_term(name, as_array(own[:, m]), as_array(weight[:, m]))
            for m, name in enumerate(self.features.names)
        ]
        return Tables(as_array(users), as_array(items + (gate * z).sum(dim=1)), terms=tuple(terms))


class RlMultimodalRecipe(EmbeddingRecipe):
    """Gated fusion on LightGCN."""

    name: ClassVar[str] = "rlmultimodalrec"
    config_type: ClassVar[type[BaseModel]] = RlMultimodalConfig
    needs_content: ClassVar[bool] = True

    def network(self, material: Material, config: RlMultimodalConfig) -> RlMultimodalNetwork:
        """Over the training graph and the dataset's features."""
        return RlMultimodalNetwork(material.split.train, material.dataset, config, material.device)
