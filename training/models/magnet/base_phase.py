"""Phase A: fits one dual-view base by sampled softmax; early stopping on validation Recall@20.

Axes: `U` users, `I` items, `D` width.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn

from training.evaluation.metrics import ndcg_at, recall_at
from training.evaluation.ranking import rank_positives
from training.fit.loop import Phase
from training.models.magnet.config import BaseConfig
from training.models.magnet.dual_view import DualViewBase


class BasePhase(Phase[DualViewBase]):
    """Positives in a fresh order every epoch, uniform negatives shared by the batch.

    A phase that `continues` another base starts from its parameters, with smaller steps: it has more positives to fit,
    not a new model to find (training/LOG.md).
    """

    def __init__(
        self,
        name: str,
        module: DualViewBase,
        config: BaseConfig,
        *,
        valid: sparse.csr_array,
        seen: sparse.csr_array,
        seed: int,
        continues: DualViewBase | None = None,
    ) -> None:
        self.name, self.module, self.config, self.seed = name, module, config, seed
        self.average = config.average
        rate = config.learning_rate
        if continues is not None:
            module.start_from(continues)
            rate *= config.continued_rate
        self.optimiser = torch.optim.Adam(module.parameters(), lr=rate)
        self.train = module.graphs.train
        self.item_rows = self.train.indices.astype(np.int64)
        self.user_rows = np.repeat(np.arange(self.train.shape[0]), np.diff(self.train.indptr))
        self.steps_per_epoch = max(1, math.ceil(len(self.item_rows) / config.batch_size))
        self.valid, self.seen = valid, seen
        self._drawn: tuple[int, NDArray[np.int64]] | None = None

    def losses(self, step: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """One batch's losses; a function of the seed and the step alone."""
        epoch, place = divmod(step, self.steps_per_epoch)
        batch = self._order(epoch)[place * self.config.batch_size : (place + 1) * self.config.batch_size]
        users, items = self.user_rows[batch], self.item_rows[batch]
        negatives = rng.integers(0, self.train.shape[1], self.config.negatives)
        own = self.train[users][:, negatives].toarray() > 0
        module = self.module
        device = module.identity.device
        dropped = None
        if self.config.id_dropout and module.content_names:
            dropped = torch.from_numpy(rng.random(self.train.shape[1]) < self.config.id_dropout).to(device)
        return module.losses(
            torch.from_numpy(users).to(device),
            torch.from_numpy(items).to(device),
            torch.from_numpy(negatives).to(device),
            torch.from_numpy(own).to(device),
            dropped,
        )

    def _order(self, epoch: int) -> NDArray[np.int64]:
        """The positives' order in an epoch, drawn once for all its steps."""
        if self._drawn is None or self._drawn[0] != epoch:
            self._drawn = (epoch, np.random.default_rng([self.seed, epoch, 1]).permutation(len(self.item_rows)))
        return self._drawn[1]

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Recall and NDCG at 20 over all users with a validation positive, full ranking."""
        views = self.module()
        users = nn.functional.normalize(
            self.module.graphs.history(np.arange(self.train.shape[0]), views.history), dim=1
        )
        items = nn.functional.normalize(views.candidate, dim=1)
        rows = np.flatnonzero(np.diff(self.valid.indptr)).astype(np.int64)
        positives = self.valid[rows]
        ranks = rank_positives(
            lambda block: (users[torch.from_numpy(block)] @ items.T).cpu().numpy(), positives, self.seen, rows
        )
        return {
            "recall@20": float(recall_at(20, ranks, positives.indptr).mean()),
            "ndcg@20": float(ndcg_at(20, ranks, positives.indptr).mean()),
        }
