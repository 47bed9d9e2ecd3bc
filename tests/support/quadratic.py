"""A phase whose every step can be written down: linear regression on two numbers at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from training.fit.loop import Phase

TARGET = torch.tensor([1.5, -2.0])
REG = 0.1


class Weights(nn.Module):
    """Two weights that start at fixed values, and dropout that draws from torch's own generator."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([0.5, 0.25]))
        self.dropout = nn.Dropout(0.3)


class Quadratic(Phase[Weights]):
    """`mean((x · w − x · target)²)` over a batch drawn by the step's generator, and a penalty."""

    def __init__(
        self,
        *,
        noise: bool = False,
        optimiser: Callable[[nn.Module], torch.optim.Optimizer] | None = None,
        at_step: Callable[[int], None] = lambda step: None,
        recall: Callable[[int], float] | None = None,
    ) -> None:
        """As given.

        Args:
            noise: whether the batch goes through dropout.
            optimiser: Adam where omitted.
            at_step: called before every step with its number, for accidents.
            recall: what the n-th validation says; the negative distance from the target where omitted.

        """
        self.name, self.module, self.steps_per_epoch = "quadratic", Weights(), 4
        make = optimiser or (lambda module: torch.optim.Adam(module.parameters(), lr=0.05))
        self.optimiser = make(self.module)
        self.noise, self.at_step, self.recall = noise, at_step, recall
        self.validations = 0

    def losses(self, step: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """The batch is a function of the seed and the step."""
        self.at_step(step)
        x = torch.from_numpy(rng.normal(size=(8, 2)).astype(np.float32))
        if self.noise:
            x = self.module.dropout(x)
        fit = (x @ self.module.w - x @ TARGET).square().mean()
        return {"fit": fit, "penalty": REG * self.module.w.square().sum()}

    def validate(self) -> dict[str, float]:
        """Higher is better."""
        self.validations += 1
        if self.recall is not None:
            return {"recall@20": self.recall(self.validations)}
        return {"recall@20": -float((self.module.w.detach() - TARGET).norm())}
