"""A fitted model whose score is a sum of item–item weights over the history: EASE, ItemKNN.

U users, I items, M modalities of the dataset, behaviour first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from training.data.dataset import Dataset
from training.models.item_item import ItemItem
from training.models.protocol import FittedModel, SnapshotContent, modalities


class FittedItemItem(FittedModel):
    """`score(u, i) = Σ_{j ∈ history(u)} B_ji`."""

    def __init__(
        self, weights: ItemItem, histories: sparse.csr_array, dataset: Dataset, chosen: Any, facts: dict[str, Any]
    ) -> None:
        """Hold what was fitted.

        Args:
            weights: `B`.
            histories: (U, I) what counts as a user's history.
            dataset: names the modalities over which a snapshot splits the weights.
            chosen: what validation chose, for the recipe's refit.
            facts: for metrics.json.

        """
        self.weights = weights
        self.chosen = chosen
        self._histories = histories
        self._matrix = weights.matrix()
        self._modalities = modalities(dataset)
        self._facts = facts

    def score_block(self, user_rows: NDArray[np.int64]) -> NDArray[np.floating]:
        """(n, I) sums over the histories."""
        return np.asarray((self._histories[user_rows] @ self._matrix).toarray())

    def snapshot_content(self) -> SnapshotContent:
        """The arrays of the scoring kind `item-item`."""
        return SnapshotContent(
            scoring="item-item",
            embedding_size=0,
            terms=(self.weights.term(self._modalities),),
            arrays=self.weights.arrays(self._modalities),
            item_item=dict(self.weights.facts),
        )

    def training_facts(self) -> dict[str, Any]:
        """What was chosen and what it took."""
        return {**self._facts, **self.weights.facts}
