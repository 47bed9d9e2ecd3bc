"""SMORE (Ong and Khong 2025, "Spectrum-based modality representation fusion graph convolutional network for multimodal
recommendation").

Axes: `U` users, `I` items, `M` content modalities, `D` width, `D/2+1` frequencies.

    denoised   z_m = F⁻¹(F(P_m f_m) ⊙ κ_m),   fused z_f = F⁻¹(Π_m F(P_m f_m) ⊙ κ_f)        F: real FFT over D
    views      x_k = ID ⊙ σ(W_k z_k),   x_k ← S_k x_k,   users' x_k = R̂ x_k,   S_f = max_m S_m
    behaviour  h = LightGCN(users, ID)
    side       s = (Σ_m p_m ⊙ softmax_D(q_m(x_f)) ⊙ x_m + p_f ⊙ x_f) / (M + 1),   p_k = dropout σ(G_k h)
    vectors    h + s;   loss as MGCN's

Published for two modalities; the sums and products here are the same for any number. What the fused view brings is
shared alike by the modalities [ours].
"""

from __future__ import annotations

from functools import reduce
from typing import ClassVar

import torch
from pydantic import BaseModel, Field
from scipy import sparse
from torch import Tensor, nn

from training.data.dataset import Dataset
from training.models.embedding.config import ContentConfig
from training.models.embedding.content import ContentFeatures, directed_knn
from training.models.embedding.light_propagation import LightPropagation
from training.models.embedding.network import EmbeddingNetwork, Tables, Triples, Vectors, as_array, xavier_table
from training.models.embedding.recipe import EmbeddingRecipe, Material
from training.models.mgcn import gate, view_losses
from training.models.propagation import Propagation


class SmoreConfig(ContentConfig):
    """SMORE's settings."""

    layers: int = Field(default=4, ge=0)
    """Hops on the user-item graph."""
    content_layers: int = Field(default=1, ge=1)
    """Hops on each item-item graph."""
    neighbours: int = Field(default=10, ge=1)
    """k of the item-item graphs, the item itself counted."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout on the preferences."""
    alignment: float = Field(default=0.01, ge=0)
    """Weight of the alignment between side and behaviour view."""


class SmoreNetwork(EmbeddingNetwork):
    """Spectral denoising and fusion, views, preferences."""

    def __init__(self, train: sparse.csr_array, dataset: Dataset, config: SmoreConfig, device: torch.device) -> None:
        super().__init__()
        width = config.embedding_size
        self.users, self.items = xavier_table(train.shape[0], width), xavier_table(train.shape[1], width)
        self.features = ContentFeatures(dataset.features, trained=config.train_features)
        count = len(self.features)
        self.projections = nn.ModuleList(nn.Linear(d, width) for d in self.features.widths)
        self.filters = nn.ParameterList(nn.Parameter(torch.randn(width // 2 + 1, 2)) for _ in range(count + 1))
        self.purifiers = nn.ModuleList(gate(width) for _ in range(count + 1))
        self.preferences = nn.ModuleList(gate(width) for _ in range(count + 1))
        self.queries = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, width, bias=False)) for _ in range(count)
        )
        self.dropout = nn.Dropout(config.dropout)
        self._config = config
        self._propagation = LightPropagation(train, config.layers, device)
        graphs = [directed_knn(matrix, config.neighbours, weighted=True) for matrix in dataset.features.values()]
        joined = reduce(lambda a, b: sparse.csr_array(a.maximum(b)), graphs)
        self._content = [Propagation(graph, device) for graph in (*graphs, joined)]

    def spectra(self) -> list[Tensor]:
        """The denoised features (I, D) of each modality, and the fused ones last."""
        width = self.items.shape[1]
        projected = [project(table).float() for project, table in zip(self.projections, self.features, strict=True)]
        spectra = [torch.fft.rfft(table, dim=1, norm="ortho") for table in projected]
        fused = reduce(torch.mul, spectra)
        return [
            torch.fft.irfft(spectrum * torch.view_as_complex(kernel), n=width, dim=1, norm="ortho")
            for spectrum, kernel in zip((*spectra, fused), self.filters, strict=True)
        ]

    def side_parts(self, behaviour: Tensor) -> list[Tensor]:
        """The side view (U + I, D) as one addend per modality, and the fused view's last."""
        views = []
        for spectrum, purify, graph in zip(self.spectra(), self.purifiers, self._content, strict=True):
            items: Tensor = self.items * purify(spectrum)
            for _ in range(self._config.content_layers):
                items = graph(items)
            views.append(torch.cat([self._propagation.to_users(items), items]))
        fused = views[-1]
        attended = [torch.softmax(query(fused), dim=1) * view for query, view in zip(self.queries, views, strict=False)]
        preferences = [self.dropout(prefer(behaviour)) for prefer in self.preferences]
        return [p * view / len(views) for p, view in zip(preferences, (*attended, fused), strict=True)]

    def forward(self) -> Vectors:
        """Vectors, and the two views that the alignment compares."""
        behaviour = torch.cat(self._propagation(self.users, self.items))
        side = torch.stack(self.side_parts(behaviour)).sum(dim=0)
        n_users = len(self.users)
        total = behaviour + side
        return Vectors(total[:n_users], total[n_users:], {"behaviour": behaviour, "side": side})

    def losses(self, batch: Triples, epochs: float) -> dict[str, Tensor]:
        """As MGCN."""
        return view_losses(self(), batch, reg=self._config.reg, alignment=self._config.alignment)

    def tables(self) -> Tables:
        """Each modality has its addend of the side view and an equal share of the fused one."""
        vectors, n_users = self(), len(self.users)
        *sides, fused = self.side_parts(vectors.views["behaviour"])
        parts = {
            name: as_array((side + fused / len(sides))[n_users:])
            for name, side in zip(self.features.names, sides, strict=True)
        }
        return Tables(as_array(vectors.users), as_array(vectors.items), parts)


class SmoreRecipe(EmbeddingRecipe):
    """The strongest public baseline measured on the development data."""

    name: ClassVar[str] = "smore"
    config_type: ClassVar[type[BaseModel]] = SmoreConfig
    needs_content: ClassVar[bool] = True

    def network(self, material: Material, config: SmoreConfig) -> SmoreNetwork:
        """Over the training graph and the dataset's features."""
        return SmoreNetwork(material.split.train, material.dataset, config, material.device)
