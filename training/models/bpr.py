"""BPR-MF (Rendle et al. 2009, "BPR: Bayesian personalized ranking from implicit feedback"): `s(u,i) = ⟨w_u, h_i⟩`.

Axes: `U` users, `I` items, `D` width.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel
from torch import Tensor

from training.fit.losses import mean_square_norm
from training.models.embedding.config import EmbeddingConfig
from training.models.embedding.material import Material
from training.models.embedding.network import EmbeddingNetwork, Tables, Triples, Vectors, as_array, bpr_of, xavier_table
from training.models.embedding.recipe import EmbeddingRecipe


class BprNetwork(EmbeddingNetwork):
    """Two free tables."""

    def __init__(self, n_users: int, n_items: int, config: EmbeddingConfig) -> None:
        super().__init__()
        self.users, self.items = (
            xavier_table(n_users, config.embedding_size),
            xavier_table(n_items, config.embedding_size),
        )
        self._reg = config.reg

    def forward(self) -> Vectors:
        """The tables themselves."""
        return Vectors(self.users, self.items)

    def losses(self, batch: Triples, epochs: float) -> dict[str, Tensor]:
        """BPR-Opt with L2 over the batch."""
        vectors = self()
        norms = mean_square_norm(self.users[batch.users], self.items[batch.positives], self.items[batch.negatives])
        return {"bpr": bpr_of(vectors, batch), "reg": self._reg * norms}

    def tables(self) -> Tables:
        """All behaviour's."""
        return Tables(as_array(self.users), as_array(self.items))


class BprRecipe(EmbeddingRecipe):
    """Matrix factorisation, as a baseline."""

    name: ClassVar[str] = "bpr"
    config_type: ClassVar[type[BaseModel]] = EmbeddingConfig

    def network(self, material: Material, config: EmbeddingConfig) -> BprNetwork:
        """Free tables for everybody and everything."""
        return BprNetwork(material.dataset.n_users, material.dataset.n_items, config)
