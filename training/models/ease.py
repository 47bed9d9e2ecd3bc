"""EASE (Steck 2019, "Embarrassingly shallow autoencoders for sparse data"), on request with a content prior [ours]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field
from scipy import sparse

from training.data.dataset import Dataset
from training.data.splits import Split
from training.fit.run import Run
from training.models.blend import content_graphs
from training.models.closed_form import ClosedFormSettings, fit_closed_form
from training.models.closed_form_search import USUAL_POINTS, choose
from training.models.item_item_model import FittedItemItem
from training.models.protocol import FittedModel, MissingRequirement, Recipe, capped_histories


class EaseConfig(BaseModel):
    """Settings of EASE; λ and the content prior are chosen on validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    reg: float | None = Field(default=None, gt=0)
    """λ; chosen on validation where omitted."""
    content: bool = False
    """Pull the weights towards the items' content neighbours; its weight is chosen on validation, together with λ."""
    neighbours: int = Field(default=200, ge=1)
    """Entries kept per row: dense data lose with fewer."""
    history_cap: int = Field(default=1000, ge=1)
    """Items of a history that count, the latest ones."""


class EaseRecipe(Recipe):
    """The closed form by itself, as a baseline."""

    name: ClassVar[str] = "ease"
    config_type: ClassVar[type[BaseModel]] = EaseConfig

    def fit(self, dataset: Dataset, split: Split, config: EaseConfig, run: Run) -> FittedModel:
        """Choose λ and the prior on validation, solve on the training part."""
        if config.content and not dataset.features:
            raise MissingRequirement(
                f"the setting 'content' of 'ease' needs features; dataset {dataset.name!r} has none"
            )
        graphs = content_graphs(dataset) if config.content else {}
        if config.reg is not None and not graphs:
            settings = ClosedFormSettings(config.reg, 0.0, {})
        else:
            with run.bar("closed form", USUAL_POINTS) as tried:
                settings = choose(
                    split.train,
                    split.valid,
                    graphs,
                    reg=config.reg,
                    plain=True,
                    seed=run.seed,
                    device=run.device,
                    tried=tried,
                )
        return self._solved(settings, graphs, dataset, split, config, run)

    def refit(
        self, fitted: FittedModel, dataset: Dataset, interactions: Split, config: EaseConfig, run: Run
    ) -> FittedModel:
        """Solve on everything with the chosen settings."""
        assert isinstance(fitted, FittedItemItem)
        graphs = content_graphs(dataset) if config.content else {}
        return self._solved(fitted.chosen, graphs, dataset, interactions, config, run)

    def _solved(
        self,
        settings: ClosedFormSettings,
        graphs: Mapping[str, sparse.csr_array],
        dataset: Dataset,
        split: Split,
        config: EaseConfig,
        run: Run,
    ) -> FittedItemItem:
        weights = fit_closed_form(split.train, graphs, settings, per_row=config.neighbours, device=run.device)
        return FittedItemItem(weights, capped_histories(split, config.history_cap), dataset, settings, {})
