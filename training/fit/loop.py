"""One phase of optimisation: steps, validations, early stopping, checkpoints.

Batches are a function of (seed, step), never of how often the run was interrupted, so a resumed run is the same run.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch

from training.errors import TrainingError
from training.fit.averages import Averages
from training.fit.checkpoint import load_checkpoint, save_checkpoint
from training.fit.interrupts import held_interrupts
from training.fit.run import Run


class Interrupted(TrainingError):
    """Ctrl-C during training, after a checkpoint was written."""


class NotANumber(TrainingError):
    """A loss or gradient that is not finite; the message names the step and the loss's parts."""


ModuleT = TypeVar("ModuleT", bound=torch.nn.Module)


class Phase(ABC, Generic[ModuleT]):
    """What the loop optimises: a module, its optimiser, a loss per step and a validation."""

    name: str
    module: ModuleT
    optimiser: torch.optim.Optimizer
    steps_per_epoch: int
    mixed_precision: bool = True
    """Whether losses may be computed in half precision, where the run is."""
    average: float = 0.0
    """Decay of the parameters' moving average, which is validated and kept in their place; 0 for the parameters."""

    @abstractmethod
    def losses(self, step: int, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """The parts of the loss at this step; their sum is minimised."""

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Validation figures; the loop selects by `recall@20`."""

    def average_of(self, parameter: str) -> float:
        """The decay of one parameter's moving average, by its name in the module."""
        return self.average

    def selectable(self, step: int) -> bool:
        """Whether the present state may be chosen yet; before, there is neither selection nor early stopping."""
        return True


@dataclass(frozen=True)
class Outcome:
    """How a phase ended; the module holds the best state."""

    best_step: int
    steps: int
    steps_per_epoch: int
    best: dict[str, float]
    seconds: float

    @property
    def epochs(self) -> float:
        """Passes over the training data."""
        return self.steps / self.steps_per_epoch


def run_phase(
    phase: Phase[Any], run: Run, *, max_steps: int, evaluate_every: int | None, patience: int = 1, min_gain: float = 0.0
) -> Outcome:
    """Optimise until validation stops improving; leaves the best state in `phase.module`.

    Args:
        phase: what to optimise.
        run: directory, seed, device, progress.
        max_steps: upper bound of optimiser steps.
        evaluate_every: steps between validations; None for a fixed number of steps without selection.
        patience: validations without improvement before stopping.
        min_gain: smallest gain of `recall@20` that counts as improvement.

    Raises:
        NotANumber: a loss or a gradient was not finite.
        Interrupted: Ctrl-C, after the step that it came in; the message has the run's advice on going on.
        TrainingError: a checkpoint is damaged, or of another model.

    """
    path = run.checkpoints / f"{phase.name}.pt"
    averages = Averages(phase.module, phase.average_of)
    state = load_checkpoint(path) if run.resume else None
    best_state: dict[str, Any] | None = None
    best, best_step, step, bad, seconds = {"recall@20": -math.inf}, 0, 0, 0, 0.0
    if run.resume:
        run.rewind(phase.name, 0 if state is None else state["step"])
    if state is not None:
        try:
            phase.module.load_state_dict(state["module"])
            phase.optimiser.load_state_dict(state["optimiser"])
            averages.load(state.get("averages", {}))
        except (RuntimeError, ValueError, KeyError) as error:
            raise TrainingError(f"expected a checkpoint of this model and data in {path}: {error}") from error
        best_state, best = state["best_state"], state["best"]
        best_step, step, bad, seconds = state["best_step"], state["step"], state["bad"], state["seconds"]
        run.earlier.append(seconds)
        if state["done"]:
            phase.module.load_state_dict(best_state or state["module"])
            return Outcome(best_step, step, phase.steps_per_epoch, best, seconds)

    def checkpoint(done: bool) -> float:
        spent = seconds + time.monotonic() - started
        save_checkpoint(
            path,
            {
                "module": phase.module.state_dict(),
                "optimiser": phase.optimiser.state_dict(),
                "averages": averages.state(),
                "best_state": best_state,
                "best": best,
                "best_step": best_step,
                "step": step,
                "bad": bad,
                "seconds": spent,
                "done": done,
            },
        )
        return spent

    started = time.monotonic()
    with run.bar(phase.name, max_steps) as advance, held_interrupts() as interrupted:
        advance(steps=step)
        while step < max_steps and bad < patience:
            if interrupted():
                checkpoint(done=False)
                raise _interrupted(phase, run, step)
            parts = _step(phase, run, step)
            step += 1
            averages.update(step)
            advance()
            if evaluate_every is None or (step % evaluate_every and step < max_steps):
                continue
            with averages.applied():
                figures = phase.validate()
                run.log(phase.name, step, {**parts, **{f"valid/{key}": value for key, value in figures.items()}})
                advance(f"valid R@20 {figures['recall@20']:.4f}", steps=0)
                if not phase.selectable(step):
                    bad = 0
                elif figures["recall@20"] > best["recall@20"] + min_gain:
                    best, best_step, bad = figures, step, 0
                    best_state = {key: value.detach().clone() for key, value in phase.module.state_dict().items()}
                else:
                    bad += 1
            checkpoint(done=False)
    if best_state is None:
        best_step = step
        with averages.applied():
            best_state = {key: value.detach().clone() for key, value in phase.module.state_dict().items()}
    phase.module.load_state_dict(best_state)
    spent = checkpoint(done=True)
    if interrupted():
        raise _interrupted(phase, run, step)
    return Outcome(best_step, step, phase.steps_per_epoch, best, spent)


def _interrupted(phase: Phase[Any], run: Run, step: int) -> Interrupted:
    return Interrupted(f"interrupted in {phase.name} after step {step}, checkpoint written; {run.advice}")


def _step(phase: Phase[Any], run: Run, step: int) -> dict[str, float]:
    torch.manual_seed(run.seed * 1_000_003 + step)
    phase.module.train()
    with torch.autocast(run.device.type, dtype=torch.bfloat16, enabled=run.amp and phase.mixed_precision):
        parts = phase.losses(step, np.random.default_rng([run.seed, step]))
    loss = torch.stack(list(parts.values())).sum()
    values = {key: float(value.detach()) for key, value in parts.items()}
    if not math.isfinite(sum(values.values())):
        raise NotANumber(f"the loss of {phase.name} is not finite at step {step} (seed {run.seed}): {values}")
    phase.optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    broken = [name for name, p in phase.module.named_parameters() if p.grad is not None and not _is_finite(p.grad)]
    if broken:
        raise NotANumber(f"gradients of {', '.join(broken)} in {phase.name} are not finite at step {step}: {values}")
    phase.optimiser.step()
    phase.module.eval()
    return {"loss": sum(values.values()), **values}


def _is_finite(gradient: torch.Tensor) -> bool:
    """Whether all of it is: extremes take one look at each number, and NaN is one."""
    return gradient.numel() == 0 or all(math.isfinite(extreme) for extreme in gradient.aminmax())
