"""Training by triples: every positive once per epoch in a fresh order, each with one sampled negative.

Axes: `U` users, `I` items.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from training.data.splits import Split
from training.evaluation.metrics import ndcg_at, recall_at
from training.evaluation.ranking import rank_positives
from training.fit.loop import Phase
from training.fit.negatives import NegativeSampler
from training.models.embedding.config import EmbeddingConfig
from training.models.embedding.network import EmbeddingNetwork, Triples


class TriplesPhase(Phase[EmbeddingNetwork]):
    """One network on the training part of one split."""

    def __init__(
        self,
        name: str,
        network: EmbeddingNetwork,
        config: EmbeddingConfig,
        *,
        split: Split,
        sampler: NegativeSampler,
        seed: int,
        device: torch.device,
        among: NDArray[np.bool_] | None = None,
    ) -> None:
        self.name, self.module = name, network.to(device)
        self.optimiser = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
        train = split.train
        self._split, self._sampler, self._seed, self._device, self._among = split, sampler, seed, device, among
        self._items = train.indices.astype(np.int64)
        self._users = np.repeat(np.arange(train.shape[0]), np.diff(train.indptr))
        self._batch_size = config.batch_size
        self.steps_per_epoch = max(1, math.ceil(len(self._items) / config.batch_size))
        self._epoch = -1
        self._order = np.zeros(0, np.int64)

    def losses(self, step: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """The network's losses on one batch; a function of the seed and the step alone."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._order = np.random.default_rng([self._seed, epoch, 1]).permutation(len(self._items))
            self.module.begin_epoch(epoch, np.random.default_rng([self._seed, epoch, 2]))
            self._epoch = epoch
        chosen = self._order[place * self._batch_size : (place + 1) * self._batch_size]
        users = self._users[chosen]
        rows = (users, self._items[chosen], self._sampler.draw(users, rng))
        batch = Triples(*(torch.from_numpy(values).to(self._device) for values in rows))
        return self.module.losses(batch, step / self.steps_per_epoch)

    def validate(self) -> dict[str, float]:
        """Recall and NDCG at 20, full ranking."""
        return ranked_on_validation(self.module, self._split, self._among)


@torch.no_grad()
def ranked_on_validation(
    network: EmbeddingNetwork, split: Split, among: NDArray[np.bool_] | None = None
) -> dict[str, float]:
    """Recall and NDCG at 20 over all users with a validation positive, full ranking.

    Items outside `among` (I,), where it is given, are neither candidates nor positives.
    """
    vectors, valid = network(), split.valid
    if among is not None:
        valid = sparse.csr_array(valid.multiply(among))
        valid.eliminate_zeros()
    rows = np.flatnonzero(np.diff(valid.indptr)).astype(np.int64)
    positives = valid[rows]

    def scores(block: NDArray[np.int64]) -> NDArray[np.floating]:
        found = (vectors.users[torch.from_numpy(block)] @ vectors.items.T).float().cpu().numpy()
        return found if among is None else np.where(among, found, -np.inf)

    ranks = rank_positives(scores, positives, split.train, rows)
    return {
        "recall@20": float(recall_at(20, ranks, positives.indptr).mean()),
        "ndcg@20": float(ndcg_at(20, ranks, positives.indptr).mean()),
    }
