"""Content features inside a network, and the directed neighbour graphs that several published models build from them.

Axes: `I` items, `d` feature width, `k` neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from training.data.features import FeatureMatrix
from training.graph.content import neighbour_lists


class ContentFeatures(nn.Module):
    """The features of every content modality, as parameters or as constants; iterates over (I, d) tables."""

    def __init__(self, features: Mapping[str, FeatureMatrix], *, trained: bool) -> None:
        super().__init__()
        self.names = list(features)
        self.tables = nn.ParameterList(
            nn.Parameter(torch.from_numpy(matrix.values.copy()), requires_grad=trained) for matrix in features.values()
        )

    @property
    def widths(self) -> list[int]:
        """d of each modality."""
        return [table.shape[1] for table in self.tables]

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.tables)


def directed_knn(matrix: FeatureMatrix, k: int, *, weighted: bool) -> sparse.csr_array:
    """(I, I) each item's k nearest, itself the first of them, as in LATTICE and what follows it.

    Normalised by the weights of rows on both sides, `A_ij / √(r_i r_j)`, `r` the row sums: with `weighted` false every
    edge counts 1. Items without the modality keep the edge to themselves alone. Neighbours are those of the content
    graph (cosine of centred features, none at a cosine ≤ 0) [ours: the public code does not centre].
    """
    n_items = len(matrix.values)
    lists = neighbour_lists(matrix.values, matrix.present, k=max(k - 1, 1))
    listed = (lists.items >= 0) & (k > 1)
    source = np.broadcast_to(np.arange(n_items)[:, None], listed.shape)[listed]
    cosines = lists.values[listed] if weighted else np.ones(int(listed.sum()), np.float32)
    own = np.arange(n_items)
    rows, columns = np.concatenate([source, own]), np.concatenate([lists.items[listed], own])
    values = np.concatenate([cosines, np.ones(n_items, np.float32)])
    weight = np.bincount(rows, weights=values, minlength=n_items)
    scaled = values / np.sqrt(weight[rows] * weight[columns])
    return sparse.csr_array((scaled.astype(np.float32), (rows, columns)), shape=(n_items, n_items))
