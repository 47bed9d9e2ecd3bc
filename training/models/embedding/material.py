"""What a network of this family is made from: the data, the run, what was chosen before, and which member it is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from training.data.dataset import Dataset
from training.data.splits import Split
from training.fit.run import Run
from training.models.embedding.fitted import Chosen

SEEDS_APART = 1000
"""Between the seeds of members, so that the members of neighbouring runs differ."""


@dataclass(frozen=True)
class Material:
    """What a network is made from."""

    dataset: Dataset
    split: Split
    run: Run
    chosen: Chosen | None
    """What validation chose before; None while it is still choosing."""
    member: int = 0
    """Which of the models side by side is made."""

    @property
    def device(self) -> torch.device:
        """Where to compute."""
        return self.run.device

    def of_member(self, member: int) -> Material:
        """The same for another one of the models side by side; the first one's seed is the run's."""
        return replace(self, run=replace(self.run, seed=self.run.seed + SEEDS_APART * member), member=member)

    def own_name(self, name: str) -> str:
        """The name of a phase among those of all members."""
        return f"{name}-{self.member}" if self.member else name

    def phase_name(self, name: str) -> str:
        """The name of a phase's checkpoint: the refit has its own."""
        return self.own_name(name) if self.chosen is None else f"refit-{self.own_name(name)}"
