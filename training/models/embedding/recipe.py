"""The recipe of every model that is trained on triples: a subclass says which network.

Fitted on `split.train` with early stopping on `split.valid`; refitted on everything for as many epochs.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.data.dataset import Dataset
from training.data.splits import Split
from training.fit.loop import Outcome, Phase, run_phase
from training.fit.negatives import NegativeSampler
from training.fit.run import Run
from training.models.embedding.config import EmbeddingConfig
from training.models.embedding.fitted import Chosen, FittedVectors
from training.models.embedding.network import EmbeddingNetwork
from training.models.embedding.phase import TriplesPhase
from training.models.item_item import BEHAVIOUR
from training.models.protocol import FittedModel, Recipe


@dataclass(frozen=True)
class Material:
    """What a network is made from."""

    dataset: Dataset
    split: Split
    run: Run
    chosen: Chosen | None
    """What validation chose before; None while it is still choosing."""

    @property
    def device(self) -> torch.device:
        """Where to compute."""
        return self.run.device

    def phase_name(self, name: str) -> str:
        """The name of a phase's checkpoint: the refit has its own."""
        return name if self.chosen is None else f"refit-{name}"


class EmbeddingRecipe(Recipe):
    """Early stopping and refit around `network`."""

    @abstractmethod
    def network(self, material: Material, config: Any) -> EmbeddingNetwork:
        """The model over the training part of `material.split`, freshly initialised from torch's generator."""

    def allowed_negatives(self, split: Split, config: Any) -> NDArray[np.bool_] | None:
        """(I,) the items that may be negatives; None for all."""
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
        )

    def _fitted(self, material: Material, config: EmbeddingConfig) -> FittedVectors:
        outcomes: dict[str, Outcome] = {}
        network = self._trained(material, config, outcomes)
        chosen = Chosen({name: outcome.best_step for name, outcome in outcomes.items()}, material.split.train.nnz)
        network.eval()
        with torch.no_grad():
            tables = network.tables()
        facts = training_facts(outcomes)
        names = modalities(material.dataset)
        return FittedVectors(tables, material.split, names, chosen, facts, history_cap=config.history_cap)

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
        )
        outcomes[self.name] = run_or_repeat(phase, self.name, material, config)
        return network


def run_or_repeat(phase: Phase[Any], name: str, material: Material, config: EmbeddingConfig) -> Outcome:
    """The phase with early stopping, or, where that was done before, for as many epochs as were chosen."""
    if material.chosen is not None:
        steps = material.chosen.more(name, material.split.train.nnz)
        return run_phase(phase, material.run, max_steps=steps, evaluate_every=None)
    return run_phase(
        phase,
        material.run,
        max_steps=config.max_epochs * phase.steps_per_epoch,
        evaluate_every=config.evaluate_every * phase.steps_per_epoch,
        patience=config.patience,
    )


def training_facts(outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    """For metrics.json; the last phase is the model's own."""
    last = list(outcomes.values())[-1]
    return {
        "epochs": round(last.epochs, 2),
        "seconds_per_epoch": round(last.seconds / max(last.epochs, 1e-9), 3),
        "seconds": round(sum(outcome.seconds for outcome in outcomes.values()), 2),
        "best_epoch": round(last.best_step / last.steps_per_epoch, 2),
        "phases": {
            name: {"best_step": o.best_step, "steps": o.steps, "seconds": round(o.seconds, 2)}
            for name, o in outcomes.items()
        },
    }


def modalities(dataset: Dataset) -> list[str]:
    """Behaviour, then the content modalities in the dataset's order."""
    return [BEHAVIOUR, *dataset.features]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's generator from `seed`, for initial values, and as it was afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
