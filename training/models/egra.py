"""EGRA (arXiv 2508.16170, from its abstract): a behaviour graph enhanced by what a pretrained multimodal model sees.

Axes: `U` users, `I` items, `B` entities of a batch, `M` content modalities, `D` width.

    1. MGCN, trained on the training interactions alone, for a fixed number of epochs: nothing of it has seen validation
       or test, not even by early stopping.
    2. Item–item edges: each item's 10 nearest by cosine of MGCN's item vectors, in either direction.
    3. h = LightGCN over `[[0, R], [Rᵀ, S]]`, normalised together;   z_m = P_m f_m,   users' z_m = R̂ z_m
       vectors h + mean_m z_m
    4. loss = BPR + reg · norms + λ(t) Σ_{users, items} mean_x w_x InfoNCE(h_x, mean_m z_mx)

Two-level dynamic weights: per entity `w_x ∝ (1 ± cos(h_x, z_x)) / 2`, no gradient through it, mean 1 over the batch
(the sign is open in the abstract: a switch); globally `λ(t) = λ_max min(1, t/T)`. Forms of 3 and of `w` are ours.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from scipy import sparse
from torch import Tensor
from torch.nn import functional

from training.data.dataset import Dataset
from training.fit.loop import run_phase
from training.fit.losses import info_nce, mean_square_norm
from training.fit.negatives import NegativeSampler
from training.graph.content import neighbour_lists
from training.graph.normalise import symmetric_normalise
from training.models.embedding.config import ContentConfig
from training.models.embedding.content_network import ContentNetwork
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
from training.models.embedding.phase import TriplesPhase
from training.models.embedding.recipe import EmbeddingRecipe, seeded
from training.models.mgcn import MgcnConfig, MgcnNetwork
from training.models.propagation import Propagation


class EgraConfig(ContentConfig):
    """EGRA's settings."""

    train_features: bool = False
    """Let the features themselves be trained on from their values: as a part of the item's vector they are then free
    vectors of their own, and overfit (training/LOG.md)."""
    layers: int = Field(default=2, ge=0)
    """Hops on the joined graph."""
    neighbours: int = Field(default=10, ge=1)
    """Item-item edges per item."""
    edge_weight: float = Field(default=1.0, ge=0)
    """Weight of an item-item edge beside an interaction."""
    alignment: float = Field(default=0.01, ge=0)
    """λ_max, the weight that the alignment grows to."""
    rise: float = Field(default=20, gt=0)
    """T, epochs over which it grows."""
    favour: Literal["misaligned", "aligned"] = "misaligned"
    """Which entities the alignment weighs more."""
    temperature: float = Field(default=0.2, gt=0)
    """Temperature of the alignment."""
    pretrained_epochs: int = Field(default=30, ge=1)
    """Epochs of MGCN."""
    pretrained: MgcnConfig = MgcnConfig()
    """MGCN's settings; its early stopping is not used."""


class EgraNetwork(ContentNetwork):
    """Free tables over the joined graph, and the modality view beside them."""

    def __init__(
        self,
        train: sparse.csr_array,
        item_graph: sparse.csr_array,
        dataset: Dataset,
        config: EgraConfig,
        device: torch.device,
    ) -> None:
        super().__init__(dataset, config)
        self._config = config
        joined = sparse.block_array([[None, train], [train.T, config.edge_weight * item_graph]], format="csr")
        self._joined = Propagation(symmetric_normalise(sparse.csr_array(joined)), device)
        self._to_users = Propagation(symmetric_normalise(train), device)

    def behaviour(self) -> Tensor:
        """h (U + I, D)."""
        hop: Tensor = torch.cat([self.users, self.items])
        total = hop
        for _ in range(self._config.layers):
            hop = self._joined(hop)
            total = total + hop
        return total / (self._config.layers + 1)

    def forward(self) -> Vectors:
        """Vectors, and both views."""
        behaviour, items = self.behaviour(), torch.stack(self.projected()).mean(dim=0)
        content = torch.cat([self._to_users(items), items])
        total, n_users = behaviour + content, len(self.users)
        return Vectors(total[:n_users], total[n_users:], {"behaviour": behaviour, "content": content})

    def losses(self, batch: Triples, epochs: float) -> dict[str, Tensor]:
        """BPR, norms, and the weighted alignment of users and items."""
        vectors, config = self(), self._config
        behaviour, content = vectors.views["behaviour"], vectors.views["content"]
        norms = mean_square_norm(self.users[batch.users], self.items[batch.positives], self.items[batch.negatives])
        aligned = []
        for rows in (batch.users, batch.positives + len(self.users)):
            weights = entity_weights(behaviour[rows], content[rows], config.favour)
            aligned.append((weights * info_nce(behaviour[rows], content[rows], config.temperature)).mean())
        strength = config.alignment * min(1.0, epochs / config.rise)
        return {
            "bpr": bpr_of(vectors, batch),
            "reg": config.reg * norms,
            "alignment": strength * torch.stack(aligned).sum(),
        }

    def tables(self) -> Tables:
        """The behaviour view as base term; the modalities with equal weights."""
        vectors, projected = self(), self.projected()
        behaviour = vectors.views["behaviour"][len(self.users) :]
        one = torch.ones_like(behaviour[:, 0])
        terms = [collaborative_term(as_array(behaviour))]
        terms += [
            modality_term(name, as_array(z), as_array(one / len(projected)))
            for name, z in zip(self.features.names, projected, strict=True)
        ]
        return Tables(as_array(vectors.users), as_array(vectors.items), terms=tuple(terms))


def entity_weights(ours: Tensor, theirs: Tensor, favour: str) -> Tensor:
    """(B,) `(1 ± cos) / 2` over its mean; a constant for the gradient."""
    cosine = functional.cosine_similarity(ours.detach(), theirs.detach(), dim=1)
    weights = (1 + cosine) / 2 if favour == "aligned" else (1 - cosine) / 2
    return weights / weights.mean().clamp_min(1e-6)


def item_graph_of(vectors: NDArray[np.float32], neighbours: int) -> sparse.csr_array:
    """(I, I) ones where either item is among the other's nearest by cosine of (centred) `vectors` (I, D)."""
    lists = neighbour_lists(vectors, np.ones(len(vectors), bool), k=neighbours)
    listed = lists.items >= 0
    source = np.broadcast_to(np.arange(len(vectors))[:, None], listed.shape)[listed]
    ones = np.ones(int(listed.sum()), np.float32)
    directed = sparse.csr_array((ones, (source, lists.items[listed])), shape=(len(vectors),) * 2)
    return sparse.csr_array(directed.maximum(directed.T))


class EgraRecipe(EmbeddingRecipe):
    """MGCN first, then the model on the graph that it gives."""

    name: ClassVar[str] = "egra"
    config_type: ClassVar[type[BaseModel]] = EgraConfig
    needs_content: ClassVar[bool] = True

    def network(self, material: Material, config: EgraConfig) -> EgraNetwork:
        """Over the training graph, the pretrained item graph and the dataset's features."""
        graph = self.item_graph(material, config)
        with seeded(material.run.seed):
            return EgraNetwork(material.split.train, graph, material.dataset, config, material.device)

    def item_graph(self, material: Material, config: EgraConfig) -> sparse.csr_array:
        """(I, I) from MGCN, a function of the training interactions, the features and the seed."""
        train = material.split.train
        with seeded(material.run.seed):
            network = MgcnNetwork(train, material.dataset, config.pretrained, material.device)
        phase = TriplesPhase(
            material.phase_name("egra-pretrained"),
            network,
            config.pretrained,
            split=material.split,
            sampler=NegativeSampler(train),
            seed=material.run.seed,
            device=material.device,
        )
        run_phase(phase, material.run, max_steps=config.pretrained_epochs * phase.steps_per_epoch, evaluate_every=None)
        network.eval()
        with torch.no_grad():
            return item_graph_of(as_array(network().items), config.neighbours)
