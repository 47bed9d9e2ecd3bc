"""What the trainer needs of a model: fit it, score every item, refit on everything, say what a snapshot holds.

A new model is one module with a `Recipe` and one line in `registry.py`; the contract suite of the tests enrols it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, JsonValue
from scipy import sparse

from model_store.manifest import Scoring, Term
from training.data.dataset import Dataset
from training.data.splits import Split
from training.errors import TrainingError
from training.fit.run import Run
from training.models.item_item import BEHAVIOUR


class MissingRequirement(TrainingError):
    """The data lack what the model needs; raised before anything is fitted."""


@dataclass(frozen=True)
class SnapshotContent:
    """What a model adds to a snapshot beside what every snapshot holds (ids, histories, popularity, neighbours).

    Arrays come in float32; the export stores in half precision those that the format lets it.
    """

    scoring: Scoring
    embedding_size: int
    terms: tuple[Term, ...]
    arrays: Mapping[str, NDArray[Any]]
    parameters: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    top_k_experts: int = 0
    item_item: Mapping[str, JsonValue] = field(default_factory=dict)


class FittedModel(ABC):
    """A model with its users' histories: scores everything, exactly."""

    @abstractmethod
    def score_block(self, user_rows: NDArray[np.int64]) -> NDArray[np.floating]:
        """(n, I) scores of all items for these users, higher is better."""

    @abstractmethod
    def snapshot_content(self) -> SnapshotContent:
        """The arrays that the snapshot's scoring kind reads."""

    def masked(
        self,
        item_rows: NDArray[np.int64],
        modality: str,
        *,
        rebuild: bool,
        user_rows: NDArray[np.int64] | None = None,
    ) -> Mapping[str, NDArray[Any]] | None:
        """The snapshot's arrays that change when the model runs again without a content modality of these items.

        This is what explanations are held against. Nothing is fitted again. With no items at all, the same arrays as
        they are. None where the model does not offer it: then the faithfulness of explanations is not measured.

        Args:
            item_rows: (n,) which items lose the modality.
            modality: a content modality of the dataset.
            rebuild: whether content graphs are built again without them, or kept as they are.
            user_rows: (m,) users whose rows have to be right, those of others may be as they were; all where omitted.

        """
        return None

    def training_facts(self) -> dict[str, Any]:
        """For metrics.json: `epochs`, `seconds_per_epoch`, `stage_switch_epoch` and whatever else is worth keeping."""
        return {}


class Recipe(ABC):
    """How a model is made from data."""

    name: ClassVar[str]
    config_type: ClassVar[type[BaseModel]]
    needs_timestamps: ClassVar[bool] = False
    needs_categories: ClassVar[bool] = False
    needs_content: ClassVar[bool] = False

    @abstractmethod
    def fit(self, dataset: Dataset, split: Split, config: Any, run: Run) -> FittedModel:
        """Fit on `split.train`, choose everything that can be chosen on `split.valid`, never look at `split.test`."""

    @abstractmethod
    def refit(self, fitted: FittedModel, dataset: Dataset, interactions: Split, config: Any, run: Run) -> FittedModel:
        """Fit again on all of `interactions.train` with what `fit` chose; nothing is selected any more."""

    def check(self, dataset: Dataset) -> None:
        """Say before training what the data lack.

        Raises:
            MissingRequirement: names the model and what is missing.

        """
        lacks = []
        if self.needs_timestamps and dataset.interactions.timestamp is None:
            lacks.append("timestamps of interactions")
        if self.needs_categories and not any(dataset.items.categories):
            lacks.append("categories of items")
        if self.needs_content and not dataset.features:
            lacks.append("content features (any <modality>_feat.npy, or run `magnet-train features`)")
        if lacks:
            raise MissingRequirement(
                f"model {self.name!r} needs {' and '.join(lacks)}; dataset {dataset.name!r} has none"
            )


def modalities(dataset: Dataset) -> list[str]:
    """Behaviour, then the content modalities in the dataset's order."""
    return [BEHAVIOUR, *dataset.features]


def capped_histories(split: Split, cap: int) -> sparse.csr_array:
    """(U, I) binary histories of the last `cap` items per user: what user encoders read, in training as in serving."""
    indptr, items = split.history()
    length = np.diff(indptr)
    if length.max(initial=0) <= cap:
        return split.train
    from_end = np.repeat(indptr[1:], length) - np.arange(len(items)) - 1
    kept = from_end < cap
    rows = np.repeat(np.arange(len(length)), length)[kept]
    return sparse.csr_array((np.ones(kept.sum(), np.float32), (rows, items[kept])), shape=split.train.shape)
