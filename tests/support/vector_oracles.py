"""Dense NumPy forms of what the vector models are made of, written from their papers: oracles for the sparse ones.

Axes: `U` users, `I` items, `D` width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn

from tests.support.tiny_dataset import tiny_dataset
from training.data.splits import split_dataset
from training.fit.run import Run
from training.models.embedding.material import Material
from training.models.embedding.network import Triples
from training.models.embedding.recipe import seeded

F64 = NDArray[np.float64]
N_USERS, N_ITEMS = 12, 10


def tiny_material(directory: Path, *, modalities: tuple[str, ...] = ("visual", "textual")) -> Material:
    """A dozen users, ten items (four of them cold), split at random."""
    dataset = tiny_dataset(modalities, n_users=N_USERS, n_items=N_ITEMS, seed=2)
    return Material(dataset, split_dataset(dataset, "random", seed=0), Run(directory), None)


def fresh(recipe: Any, material: Material, config: Any) -> Any:
    """The recipe's network, in evaluation mode."""
    with seeded(1):
        return recipe.network(material, config).eval()


def triples() -> Triples:
    """Three users with a positive and a negative each."""
    return Triples(*(torch.tensor(rows) for rows in ([0, 3, 7], [1, 2, 1], [5, 0, 4])))


def values(losses: dict[str, Tensor]) -> dict[str, float]:
    """The losses as numbers."""
    return {name: float(part.detach()) for name, part in losses.items()}


def dense(value: Tensor | nn.Parameter) -> F64:
    """A tensor in double precision."""
    return value.detach().numpy().astype(np.float64)


def linear(layer: Any, x: F64) -> F64:
    """`x Wᵀ + b`."""
    bias = 0.0 if layer.bias is None else dense(layer.bias)
    result: F64 = x @ dense(layer.weight).T + bias
    return result


def sigmoid(x: F64) -> F64:
    """σ."""
    result: F64 = 1 / (1 + np.exp(-x))
    return result


def softmax(x: F64, axis: int) -> F64:
    """Over one axis."""
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    result: F64 = powers / powers.sum(axis=axis, keepdims=True)
    return result


def normalised_adjacency(train: sparse.csr_array) -> F64:
    """(U + I, U + I) `D^-½ A D^-½` of the bipartite graph."""
    n_users, n_items = train.shape
    adjacency = np.zeros((n_users + n_items,) * 2)
    adjacency[:n_users, n_users:] = train.toarray()
    adjacency[n_users:, :n_users] = train.toarray().T
    return symmetric(adjacency)


def symmetric(adjacency: F64) -> F64:
    """`D^-½ A D^-½`, isolated nodes staying zero."""
    degree = adjacency.sum(axis=1)
    scale = np.where(degree > 0, 1 / np.sqrt(np.maximum(degree, 1e-12)), 0)
    result: F64 = scale[:, None] * adjacency * scale[None]
    return result


def mean_of_powers(adjacency: F64, x: F64, layers: int) -> F64:
    """`mean_{l=0..L} A^l x`."""
    total, hop = x.copy(), x
    for _ in range(layers):
        hop = adjacency @ hop
        total = total + hop
    result: F64 = total / (layers + 1)
    return result


def light_gcn(train: sparse.csr_array, users: F64, items: F64, layers: int) -> F64:
    """(U + I, D) LightGCN's final table."""
    return mean_of_powers(normalised_adjacency(train), np.concatenate([users, items]), layers)


def bpr(users: F64, items: F64, batch: Triples) -> float:
    """`−mean log σ(s_ui − s_uj)`."""
    u, i, j = (rows.numpy() for rows in (batch.users, batch.positives, batch.negatives))
    gaps = (users[u] * items[i]).sum(axis=1) - (users[u] * items[j]).sum(axis=1)
    return float(-np.log(sigmoid(gaps)).mean())


def info_nce(a: F64, b: F64, temperature: float) -> F64:
    """(n,) per pair."""
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    logits = a @ b.T / temperature
    result: F64 = -np.log(np.exp(np.diag(logits)) / np.exp(logits).sum(axis=1))
    return result
