"""LightGCN (He et al. 2020, "LightGCN: Simplifying and powering graph convolution network for recommendation").

Axes: `U` users, `I` items, `D` width. Free tables, propagated linearly; the mean over layers; BPR with L2 on the own
rows of the tables (equation 15), not on the propagated ones.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, Field
from torch import Tensor

from training.fit.losses import mean_square_norm
from training.models.embedding.config import EmbeddingConfig
from training.models.embedding.light_propagation import LightPropagation
from training.models.embedding.material import Material
from training.models.embedding.network import EmbeddingNetwork, Tables, Triples, Vectors, as_array, bpr_of, xavier_table
from training.models.embedding.recipe import EmbeddingRecipe


class LightGcnConfig(EmbeddingConfig):
    """LightGCN's settings."""

    layers: int = Field(default=3, ge=0)
    """Hops."""


class LightGcnNetwork(EmbeddingNetwork):
    """Two free tables and the graph."""

    def __init__(self, propagation: LightPropagation, n_users: int, n_items: int, config: LightGcnConfig) -> None:
        super().__init__()
        self.users, self.items = (
            xavier_table(n_users, config.embedding_size),
            xavier_table(n_items, config.embedding_size),
        )
        self._propagation, self._reg = propagation, config.reg

    def forward(self) -> Vectors:
        """The propagated tables."""
        return Vectors(*self._propagation(self.users, self.items))

    def losses(self, batch: Triples, epochs: float) -> dict[str, Tensor]:
        """BPR, and L2 on the batch's rows of the free tables."""
        norms = mean_square_norm(self.users[batch.users], self.items[batch.positives], self.items[batch.negatives])
        return {"bpr": bpr_of(self(), batch), "reg": self._reg * norms}

    def tables(self) -> Tables:
        """All behaviour's."""
        vectors = self()
        return Tables(as_array(vectors.users), as_array(vectors.items))


class LightGcnRecipe(EmbeddingRecipe):
    """Graph collaborative filtering, as a baseline."""

    name: ClassVar[str] = "lightgcn"
    config_type: ClassVar[type[BaseModel]] = LightGcnConfig

    def network(self, material: Material, config: LightGcnConfig) -> LightGcnNetwork:
        """Tables over the training graph."""
        propagation = LightPropagation(material.split.train, config.layers, material.device)
        return LightGcnNetwork(propagation, material.dataset.n_users, material.dataset.n_items, config)
