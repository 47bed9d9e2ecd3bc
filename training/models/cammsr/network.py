"""CAMMSR's network: a causal pre-norm Transformer over the items of a history; the last position is the user.

Axes: `U` users, `I` items, `B` sequences, `L` positions, `D` width. Sequences are padded behind their last item, where
causal attention never looks.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.data.dataset import Dataset
from training.data.splits import Split
from training.models.cammsr.config import CammsrConfig
from training.models.cammsr.experts import CategoryGuidedExperts
from training.models.embedding.network import EmbeddingNetwork, ServedTerm, Tables, Vectors, as_array

USERS_AT_ONCE = 1024
DECAYS = (1.0, 0.9, 0.8, 0.6, 0.4)


class CammsrNetwork(EmbeddingNetwork):
    """Items, positions, Transformer; bound to the histories of one split."""

    def __init__(self, dataset: Dataset, split: Split, config: CammsrConfig, device: torch.device) -> None:
        super().__init__()
        width = config.embedding_size
        self.labels = category_labels(dataset, device)
        self.mixture = CategoryGuidedExperts(dataset.features, dataset.n_items, self.labels.shape[1], width)
        self.positions = nn.Parameter(torch.randn(config.history_cap, width) * 0.02)
        layer = nn.TransformerEncoderLayer(
            width, config.heads, 4 * width, config.dropout, "gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, config.layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.dropout = nn.Dropout(config.dropout)
        self.indptr, self.history = split.history()
        self._cap = config.history_cap

    def sequences(
        self, user_rows: NDArray[np.int64], *, beyond: int = 0, skipped: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The last `history_cap + beyond` items of users (B,), padded to (B, L) by 0, and their lengths (B,).

        `skipped` (B,) of the latest items do not count.
        """
        ends = self.indptr[user_rows + 1] - (0 if skipped is None else skipped)
        lengths = np.minimum(ends - self.indptr[user_rows], self._cap + beyond)
        places = np.arange(max(int(lengths.max(initial=0)), 1))
        entries = (ends - lengths)[:, None] + places
        padding = places >= lengths[:, None]
        known = np.minimum(entries, max(len(self.history) - 1, 0))
        items = self.history[known].astype(np.int64) if len(self.history) else np.zeros_like(known)
        items[padding] = 0
        return items, lengths

    def encode(self, items: Tensor) -> Tensor:
        """(B, L, D) what follows after each position, from item vectors (B, L, D)."""
        length = items.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=items.device).triu(1)
        encoded: Tensor = self.encoder(self.dropout(items + self.positions[:length]), mask=causal)
        return encoded

    def forward(self) -> Vectors:
        """Every user of the split and every item."""
        device = self.positions.device
        items = self.mixture(torch.arange(len(self.labels), device=device)).vectors
        n_users = len(self.indptr) - 1
        blocks = []
        for start in range(0, n_users, USERS_AT_ONCE):
            rows, lengths = self.sequences(np.arange(start, min(start + USERS_AT_ONCE, n_users)))
            encoded = self.encode(items[torch.from_numpy(rows).to(device)])
            last = torch.from_numpy(np.maximum(lengths - 1, 0)).to(device)
            known = torch.from_numpy(lengths > 0).to(device)
            blocks.append(encoded[torch.arange(len(last), device=device), last] * known[:, None])
        return Vectors(torch.cat(blocks), items)

    def tables(self) -> Tables:
        """A term per expert; the linear form of a user may forget the older items."""
        vectors = self()
        mixed = self.mixture(torch.arange(len(self.labels), device=self.positions.device))
        terms = tuple(
            ServedTerm(term, as_array(mixed.experts[:, t]), as_array(mixed.gates[:, t]))
            for t, term in enumerate(self.mixture.terms)
        )
        return Tables(as_array(vectors.users), as_array(vectors.items), terms=terms, decays=DECAYS)


def category_labels(dataset: Dataset, device: torch.device) -> Tensor:
    """(I, C) float, 1 where the item is of the category; categories in alphabetical order."""
    names = sorted({name for categories in dataset.items.categories for name in categories})
    column = {name: place for place, name in enumerate(names)}
    labels = torch.zeros(dataset.n_items, len(names))
    for row, categories in enumerate(dataset.items.categories):
        labels[row, [column[name] for name in categories]] = 1.0
    return labels.to(device)
