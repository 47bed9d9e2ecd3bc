"""LightGCN's propagation (He et al. 2020, "LightGCN", equations 3 to 5), shared by all models that build on it.

Axes: `U` users, `I` items, `D` width.
"""

from __future__ import annotations

import torch
from scipy import sparse
from torch import Tensor

from training.graph.normalise import symmetric_normalise
from training.models.propagation import Propagation


class LightPropagation:
    """`e = mean_{l=0..L} Â^l e⁰` over the symmetrically normalised bipartite graph."""

    def __init__(self, train: sparse.csr_array, layers: int, device: torch.device) -> None:
        """Normalise the graph of `train` (U, I); L = `layers`."""
        normalised = symmetric_normalise(train)
        self._to_users = Propagation(normalised, device)
        self._to_items = Propagation(sparse.csr_array(normalised.T), device)
        self._layers = layers

    def __call__(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Propagated users (U, D) and items (I, D)."""
        user_sum, item_sum = users, items
        for _ in range(self._layers):
            users, items = self._to_users(items), self._to_items(users)
            user_sum, item_sum = user_sum + users, item_sum + items
        return user_sum / (self._layers + 1), item_sum / (self._layers + 1)

    def to_users(self, items: Tensor) -> Tensor:
        """(U, D) one hop from items (I, D) to those who took them."""
        return self._to_users(items)
