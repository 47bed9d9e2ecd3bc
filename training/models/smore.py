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
from training.models.embedding.content import directed_knn
from training.models.embedding.content_network import SideViewConfig, SideViewNetwork, gate
from training.models.embedding.material import Material
from training.models.embedding.network import Tables, as_array
from training.models.embedding.recipe import EmbeddingRecipe
from training.models.propagation import Propagation


class SmoreConfig(SideViewConfig):
    """SMORE's settings."""

    layers: int = Field(default=4, ge=0)
    """Hops on the user-item graph."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout on the preferences."""


class SmoreNetwork(SideViewNetwork):
    """Spectral denoising and fusion, views, preferences."""

    def __init__(self, train: sparse.csr_array, dataset: Dataset, config: SmoreConfig, device: torch.device) -> None:
        super().__init__(train, dataset, config, device)
        width, count = config.embedding_size, len(self.features)
        self.filters = nn.ParameterList(nn.Parameter(torch.randn(width // 2 + 1, 2)) for _ in range(count + 1))
        self.purifiers = nn.ModuleList(gate(width) for _ in range(count + 1))
        self.preferences = nn.ModuleList(gate(width) for _ in range(count + 1))
        self.queries = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, width, bias=False)) for _ in range(count)
        )
        self.dropout = nn.Dropout(config.dropout)
        graphs = [directed_knn(matrix, config.neighbours, weighted=True) for matrix in dataset.features.values()]
        joined = reduce(lambda a, b: sparse.csr_array(a.maximum(b)), graphs)
        self._content = [Propagation(graph, device) for graph in (*graphs, joined)]

    def spectra(self) -> list[Tensor]:
        """The denoised features (I, D) of each modality, and the fused ones last."""
        width = self.items.shape[1]
        spectra = [torch.fft.rfft(table.float(), dim=1, norm="ortho") for table in self.projected()]
        fused = reduce(torch.mul, spectra)
        return [
            torch.fft.irfft(spectrum * torch.view_as_complex(kernel), n=width, dim=1, norm="ortho")
            for spectrum, kernel in zip((*spectra, fused), self.filters, strict=True)
        ]

    def side_parts(self, behaviour: Tensor) -> list[Tensor]:
        """An addend per modality, and the fused view's last."""
        views = [
            self.content_view(purify(spectrum), graph)
            for spectrum, purify, graph in zip(self.spectra(), self.purifiers, self._content, strict=True)
        ]
        fused = views[-1]
        attended = [torch.softmax(query(fused), dim=1) * view for query, view in zip(self.queries, views, strict=False)]
        preferences = [self.dropout(prefer(behaviour)) for prefer in self.preferences]
        return [p * view / len(views) for p, view in zip(preferences, (*attended, fused), strict=True)]

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
