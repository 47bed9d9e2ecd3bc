"""The recipe of every model that is trained on triples: a subclass says which network.

Fitted on `split.train` with early stopping on `split.valid`; refitted on everything for as many epochs.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.data.dataset import Dataset
from training.data.splits import Split
from training.fit.loop import Outcome, Phase, run_phase
from training.fit.negatives import NegativeSampler
from training.fit.run import Run
from training.models.embedding.beside import with_item_item
from training.models.embedding.config import EmbeddingConfig
from training.models.embedding.fitted import Chosen, FittedVectors
from training.models.embedding.material import Material
from training.models.embedding.network import EmbeddingNetwork, Tables, side_by_side
from training.models.embedding.phase import TriplesPhase
from training.models.protocol import FittedModel, Recipe, modalities


class EmbeddingRecipe(Recipe):
    """Early stopping and refit around `network`."""

    @abstractmethod
    def network(self, material: Material, config: Any) -> EmbeddingNetwork:
        """The model over the training part of `material.split`, freshly initialised from torch's generator."""

    def allowed_negatives(self, split: Split, config: Any) -> NDArray[np.bool_] | None:
        """(I,) the items that may be negatives; None for all."""
        return None

    def validated_among(self, split: Split, config: Any) -> NDArray[np.bool_] | None:
        """(I,) the items that validation ranks; None for all."""
        return None

    def fit(self, dataset: Dataset, split: Split, config: Any, run: Run) -> FittedModel:
        """Train until validation stops improving."""
        return self._fitted(Material(dataset, split, run, None), config)

    def refit(self, fitted: FittedModel, dataset: Dataset, interactions: Split, config: Any, run: Run) -> FittedModel:
        """Train again from the start, for as many epochs as were chosen."""
        assert isinstance(fitted, FittedVectors)
        again = self._fitted(Material(dataset, interactions, run, fitted.chosen), config)
        return FittedVectors(
            again.tables,
            interactions,
            modalities(dataset),
            fitted.chosen,
            fitted.training_facts(),
            history_cap=config.history_cap,
            item_item=again.item_item,
        )

    def _fitted(self, material: Material, config: EmbeddingConfig) -> FittedVectors:
        outcomes: dict[str, Outcome] = {}
        members = range(config.members)
        tables = side_by_side([self._tables(material.of_member(member), config, outcomes) for member in members])
        epochs = {name: outcome.best_step / outcome.steps_per_epoch for name, outcome in outcomes.items()}
        fitted = FittedVectors(
            tables,
            material.split,
            modalities(material.dataset),
            Chosen(epochs),
            training_facts(outcomes),
            history_cap=config.history_cap,
        )
        return with_item_item(fitted, material, config)

    def _tables(self, material: Material, config: EmbeddingConfig, outcomes: dict[str, Outcome]) -> Tables:
        """What one member serves."""
        network = self._trained(material, config, outcomes).eval()
        with torch.no_grad():
            return network.tables()

    def _trained(self, material: Material, config: EmbeddingConfig, outcomes: dict[str, Outcome]) -> EmbeddingNetwork:
        """The network after its phase; `outcomes` learns how that went."""
        with seeded(material.run.seed):
            network = self.network(material, config)
        phase = TriplesPhase(
            material.phase_name(self.name),
            network,
            config,
            split=material.split,
            sampler=NegativeSampler(material.split.train, self.allowed_negatives(material.split, config)),
            seed=material.run.seed,
            device=material.device,
            among=self.validated_among(material.split, config),
        )
        name = material.own_name(self.name)
        outcomes[name] = run_or_repeat(phase, name, material, config)
        return network


def run_or_repeat(phase: Phase[Any], name: str, material: Material, config: EmbeddingConfig) -> Outcome:
    """The phase with early stopping, or, where that was done before, for as many epochs as were chosen."""
    if material.chosen is not None:
        steps = max(1, round(material.chosen.epochs[name] * phase.steps_per_epoch))
        return run_phase(phase, material.run, max_steps=steps, evaluate_every=None)
    return run_phase(
        phase,
        material.run,
        max_steps=config.max_epochs * phase.steps_per_epoch,
        evaluate_every=epochs_between_validations(config, phase.steps_per_epoch) * phase.steps_per_epoch,
        patience=config.patience,
    )


def epochs_between_validations(config: EmbeddingConfig, steps_per_epoch: int) -> int:
    """As the configuration says, or one, but 50 steps at least: patience of a few hundred steps ends on a plateau."""
    return config.evaluate_every or math.ceil(50 / steps_per_epoch)


def training_facts(outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    """For metrics.json: epochs and seconds of all members together, and where the last one was best."""
    last = list(outcomes.values())[-1]
    epochs, seconds = (sum(getattr(o, name) for o in outcomes.values()) for name in ("epochs", "seconds"))
    return {
        "epochs": round(epochs, 2),
        "seconds_per_epoch": round(seconds / max(epochs, 1e-9), 3),
        "seconds": round(seconds, 2),
        "best_epoch": round(last.best_step / last.steps_per_epoch, 2),
        "phases": {
            name: {"best_step": o.best_step, "steps": o.steps, "seconds": round(o.seconds, 2)}
            for name, o in outcomes.items()
        },
    }


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's generator from `seed`, for initial values, and as it was afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
