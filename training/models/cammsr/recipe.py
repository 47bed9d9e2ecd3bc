"""How CAMMSR is trained: next-item cross-entropy over all items, category prediction, contrast of swapped modalities.

Axes: `B` sequences, `L` positions, `N` positions that have a next item, `I` items, `D` width.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor
from torch.nn import functional

from training.errors import TrainingError
from training.fit.loop import Outcome, Phase
from training.fit.losses import info_nce
from training.models.cammsr.config import CammsrConfig
from training.models.cammsr.network import CammsrNetwork
from training.models.embedding.config import EmbeddingConfig
from training.models.embedding.material import Material
from training.models.embedding.network import EmbeddingNetwork
from training.models.embedding.phase import ranked_on_validation
from training.models.embedding.recipe import EmbeddingRecipe, run_or_repeat, seeded


class SequencePhase(Phase[CammsrNetwork]):
    """Every user's sequence once per epoch, in a fresh order."""

    def __init__(self, name: str, network: CammsrNetwork, config: CammsrConfig, material: Material) -> None:
        self.name, self.module = name, network.to(material.device)
        self.optimiser = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.reg)
        self._config, self._split, self._seed = config, material.split, material.run.seed
        self._device = material.device
        self._users = np.flatnonzero(np.diff(network.indptr) >= 2).astype(np.int64)
        if not len(self._users):
            raise TrainingError("model 'cammsr' needs users with at least two training interactions, found none")
        self.steps_per_epoch = math.ceil(len(self._users) / config.batch_size)

    def losses(self, step: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """One batch of sequences: of a history longer than one, a stretch drawn anew in every epoch."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng([self._seed, epoch, 1]).permutation(len(self._users))
        users = self._users[order[place * self._config.batch_size : (place + 1) * self._config.batch_size]]
        spare = np.maximum(np.diff(self.module.indptr)[users] - self._config.history_cap - 1, 0)
        rows, lengths = self.module.sequences(users, beyond=1, skipped=rng.integers(0, spare + 1))
        swaps = rng.random(rows[:, :-1].shape) < self._config.swapped
        return self.sequence_losses(
            *(torch.from_numpy(values).to(self._device) for values in (rows, lengths, swaps)),
        )

    def sequence_losses(self, rows: Tensor, lengths: Tensor, swaps: Tensor) -> dict[str, Tensor]:
        """The losses of padded sequences.

        Args:
            rows: (B, L + 1) item rows: position `l` predicts position `l + 1`.
            lengths: (B,) of them that are items.
            swaps: (B, L) where the copy's modalities are swapped.

        """
        network, config, inputs = self.module, self._config, rows[:, :-1]
        everything = network.mixture(torch.arange(len(network.labels), device=rows.device))
        encoded = network.encode(everything.vectors[inputs])
        has_next = torch.arange(inputs.shape[1], device=rows.device) < (lengths - 1)[:, None]
        logits = encoded[has_next] @ everything.vectors.T
        losses = {"next": functional.cross_entropy(logits, rows[:, 1:][has_next])}
        here = torch.unique(rows[:, :-1][has_next])
        labelled = here[network.labels[here].any(dim=1)]
        if config.category and len(labelled):
            predicted = everything.category_logits[labelled]
            losses["category"] = config.category * functional.binary_cross_entropy_with_logits(
                predicted, network.labels[labelled]
            )
        if config.contrast and len(network.mixture.projections) > 1 and len(rows) > 1:
            other = network.mixture(torch.arange(len(network.labels), device=rows.device), swapped=True).vectors
            copy = network.encode(torch.where(swaps[:, :, None], other[inputs], everything.vectors[inputs]))
            last = (torch.arange(len(rows), device=rows.device), lengths - 2)
            losses["contrast"] = config.contrast * info_nce(encoded[last], copy[last], config.temperature).mean()
        return losses

    def validate(self) -> dict[str, float]:
        """Recall and NDCG at 20, full ranking."""
        return ranked_on_validation(self.module, self._split)


class CammsrRecipe(EmbeddingRecipe):
    """Category-guided sequences."""

    name: ClassVar[str] = "cammsr"
    config_type: ClassVar[type[BaseModel]] = CammsrConfig
    needs_timestamps: ClassVar[bool] = True
    needs_categories: ClassVar[bool] = True
    needs_content: ClassVar[bool] = True

    def network(self, material: Material, config: CammsrConfig) -> CammsrNetwork:
        """Over the training histories in time order."""
        return CammsrNetwork(material.dataset, material.split, config, material.device)

    def _trained(self, material: Material, config: EmbeddingConfig, outcomes: dict[str, Outcome]) -> EmbeddingNetwork:
        assert isinstance(config, CammsrConfig)
        with seeded(material.run.seed):
            network = self.network(material, config)
        phase = SequencePhase(material.phase_name(self.name), network, config, material)
        name = material.own_name(self.name)
        outcomes[name] = run_or_repeat(phase, name, material, config)
        return network
