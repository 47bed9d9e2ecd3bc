"""Popularity: the same order for everybody, by the number of training interactions.

U users, I items.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy import sparse

from model_store.manifest import Term
from training.data.dataset import Dataset
from training.data.splits import Split
from training.fit.run import Run
from training.models.item_item import BEHAVIOUR
from training.models.protocol import FittedModel, Recipe, SnapshotContent


class PopularityConfig(BaseModel):
    """Popularity has no settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FittedPopularity(FittedModel):
    """Counts per item."""

    def __init__(self, train: sparse.csr_array) -> None:
        """Count the interactions (U, I)."""
        self._count = np.bincount(train.indices, minlength=train.shape[1]).astype(np.float32)

    def score_block(self, user_rows: NDArray[np.int64]) -> NDArray[np.floating]:
        """(n, I) the counts, once per user."""
        return np.broadcast_to(self._count, (len(user_rows), len(self._count)))

    def snapshot_content(self) -> SnapshotContent:
        """The scoring kind `popularity`, over these very counts."""
        return SnapshotContent(
            scoring="popularity",
            embedding_size=1,
            terms=(Term(name="popularity", role="base", modalities={BEHAVIOUR: 1.0}),),
            arrays={"popularity": self._count},
        )


class PopularityRecipe(Recipe):
    """The floor under every comparison."""

    name: ClassVar[str] = "popularity"
    config_type: ClassVar[type[BaseModel]] = PopularityConfig

    def fit(self, dataset: Dataset, split: Split, config: PopularityConfig, run: Run) -> FittedModel:
        """Count the training part."""
        return FittedPopularity(split.train)

    def refit(
        self, fitted: FittedModel, dataset: Dataset, interactions: Split, config: PopularityConfig, run: Run
    ) -> FittedModel:
        """Count everything."""
        return FittedPopularity(interactions.train)
