"""ItemKNN (Deshpande and Karypis 2004, "Item-based top-N recommendation algorithms"): cosine of co-occurrence.

U users, I items. `sim(j, i) = |U_j ∩ U_i| / (√(|U_j| |U_i|) + shrink)`; every history item contributes its k most
similar items, and a candidate's score is the sum. The shrinkage term is a common addition; 0 is the published form.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy import sparse

from training.data.dataset import Dataset
from training.data.splits import Split
from training.evaluation.metrics import recall_at
from training.evaluation.ranking import rank_positives
from training.fit.run import Run
from training.models.item_item import BEHAVIOUR, ItemItem, strongest_per_row
from training.models.item_item_model import FittedItemItem
from training.models.protocol import FittedModel, Recipe, capped_histories


class ItemKnnConfig(BaseModel):
    """Settings of ItemKNN: the grid from which validation chooses."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    neighbours: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(20, 50, 100, 200), min_length=1)
    """k, similar items per history item."""
    shrink: tuple[Annotated[float, Field(ge=0)], ...] = Field(default=(0.0, 10.0, 50.0), min_length=1)
    """Added to the denominator, so that rare items are not similar by chance."""
    history_cap: int = Field(default=1000, ge=1)
    """Items of a history that count, the latest ones."""


@dataclass(frozen=True)
class KnnSettings:
    """One point of the grid."""

    neighbours: int
    shrink: float


class ItemKnnRecipe(Recipe):
    """Neighbourhoods of items, as a baseline."""

    name: ClassVar[str] = "itemknn"
    config_type: ClassVar[type[BaseModel]] = ItemKnnConfig

    def fit(self, dataset: Dataset, split: Split, config: ItemKnnConfig, run: Run) -> FittedModel:
        """Choose k and the shrinkage by validation Recall@20."""
        histories = capped_histories(split, config.history_cap)
        user_rows = np.flatnonzero(np.diff(split.valid.indptr)).astype(np.int64)
        positives = split.valid[user_rows]

        def recall(settings: KnnSettings) -> float:
            matrix = fit_item_knn(split.train, settings).matrix()
            ranks = rank_positives(lambda rows: (histories[rows] @ matrix).toarray(), positives, split.train, user_rows)
            return float(recall_at(20, ranks, positives.indptr).mean())

        grid = [KnnSettings(k, shrink) for k in config.neighbours for shrink in config.shrink]
        chosen = max(grid, key=recall) if len(grid) > 1 else grid[0]
        return FittedItemItem(fit_item_knn(split.train, chosen), histories, dataset, chosen, {})

    def refit(
        self, fitted: FittedModel, dataset: Dataset, interactions: Split, config: ItemKnnConfig, run: Run
    ) -> FittedModel:
        """Count everything with the chosen k and shrinkage."""
        assert isinstance(fitted, FittedItemItem)
        weights = fit_item_knn(interactions.train, fitted.chosen)
        return FittedItemItem(weights, capped_histories(interactions, config.history_cap), dataset, fitted.chosen, {})


def fit_item_knn(train: sparse.csr_array, settings: KnnSettings) -> ItemItem:
    """The k largest similarities of every item.

    Args:
        train: (U, I) interactions of ones.
        settings: k and shrinkage.

    """
    started = time.monotonic()
    together = sparse.csr_array(train.T @ train)
    root = np.sqrt(together.diagonal())
    row = np.repeat(np.arange(together.shape[0]), np.diff(together.indptr))
    cosine = together.data / (root[row] * root[together.indices] + settings.shrink)
    similar = sparse.csr_array((cosine, together.indices, together.indptr), shape=together.shape)
    facts: dict[str, float | str] = {"neighbours": settings.neighbours, "shrink": settings.shrink}
    result = strongest_per_row(
        lambda rows: similar[rows].toarray()[None], train.shape[1], (BEHAVIOUR,), settings.neighbours, facts
    )
    facts["seconds"] = time.monotonic() - started
    return result
