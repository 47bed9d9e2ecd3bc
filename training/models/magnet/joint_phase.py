"""A control of the stages: base, experts and router fitted together.

Axes: `U` users, `I` items, `M` modalities (behaviour first), `D` width.

The ranking loss reads the base of its step, with gradients; but what scores are compared with, candidates, moments,
residual maps, node features and the item-item weight, are statistics of the base at the last validation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from training.fit.loop import Phase
from training.fit.run import Run
from training.models.magnet.base_phase import BasePhase
from training.models.magnet.candidates import CandidateTable
from training.models.magnet.config import RouterConfig
from training.models.magnet.dual_view import DualViewBase
from training.models.magnet.entropy import EntropySchedule
from training.models.magnet.frozen import FrozenBase, freeze
from training.models.magnet.router_phase import MixtureInFitting, RouterPhase
from training.models.magnet.scored import Evidence, Mixture
from training.models.magnet.table_scores import BaseVectors
from training.models.propagation import Propagation


@dataclass(frozen=True)
class ReadBase:
    """What the mixture reads of one state of the base, and the tables that it is fitted and chosen on."""

    evidence: Evidence
    fitted_on: CandidateTable
    selected_on: CandidateTable


class JointlyFitted(nn.Module):
    """What a checkpoint of this phase holds: beside the parameters, the base that all statistics are of."""

    parts: Tensor  # (I, M, D)
    history: Tensor  # (I, D)
    readings: Tensor  # how often the base was read since the start

    def __init__(self, base: DualViewBase, router: MixtureInFitting, read: FrozenBase) -> None:
        super().__init__()
        self.base, self.router = base, router
        self.register_buffer("parts", torch.from_numpy(read.parts).clone())
        self.register_buffer("history", torch.from_numpy(read.history).clone())
        self.register_buffer("readings", torch.tensor(0))


class JointPhase(Phase[JointlyFitted]):
    """The losses of `BasePhase` and of `RouterPhase`, summed.

    Selects by Recall@20 of the mixture among the candidates: it is what is served, and as the candidates are the
    base's own best and positives out of their reach count as missed, it judges the base too. The base alone over all
    items would say nothing of experts and router.
    """

    def __init__(
        self,
        base: BasePhase,
        mixture: Mixture,
        schedule: EntropySchedule,
        config: RouterConfig,
        start: ReadBase,
        read: Callable[[FrozenBase], ReadBase],
        run: Run,
    ) -> None:
        """`start` is of the base before any step, `read` gives the same of a later one."""
        self.name, self.base, self.mixture, self.schedule = base.name, base, mixture, schedule
        self.steps_per_epoch = base.steps_per_epoch
        self.router = RouterPhase(
            self.name,
            start.evidence,
            mixture,
            schedule,
            config,
            fitted_on=start.fitted_on,
            selected_on=start.selected_on,
            run=run,
        )
        self._read, self._first = read, start.evidence.base
        self._histories = Propagation(start.evidence.interactions, run.device)
        self.module = JointlyFitted(base.module, self.router.module, self._first)
        self._readings = 0
        # the end is not known beforehand, so no step size falls towards it
        groups = [
            {name: group[name] for name in ("params", "lr", "weight_decay")}
            for phase in (base, self.router)
            for group in phase.optimiser.param_groups
        ]
        self.optimiser = torch.optim.AdamW(groups)

    def average_of(self, parameter: str) -> float:
        """That of the phase which a parameter belongs to."""
        return self.base.average if parameter.startswith("base.") else self.router.average

    def selectable(self, step: int) -> bool:
        """As for the router alone, unless there is nobody to fit it on."""
        return self.router.selectable(step) or not len(self.router.usable)

    def live(self) -> BaseVectors:
        """The base as it is now, with gradients; equal to what `freeze` and `FrozenBase.users` make of it."""
        history, parts = self.base.module.split_tables()
        length = parts.sum(dim=1).norm(dim=1).clamp_min(1e-12)
        users = nn.functional.normalize(self._histories(history.sum(dim=1)), dim=1)
        return BaseVectors((parts / length[:, None, None]).cpu(), users.cpu())

    def losses(self, step: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """Those of the base on its batch, and those of the mixture on users with held-out positives."""
        parts = self.base.losses(step, rng)
        if int(self.module.readings) != self._readings:  # a checkpoint was loaded
            self._look_again()
        device = self.base.module.identity.device
        if len(self.router.usable):
            with torch.autocast(device.type, enabled=False):
                parts |= self.router.mixture_losses(step, rng, self.live())
        return {name: part.to(device) for name, part in parts.items()}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Recall and NDCG at 20 of the mixture, on statistics and among candidates of the base as it is now."""
        now = freeze(self.base.module)
        self.module.parts.copy_(torch.from_numpy(now.parts))
        self.module.history.copy_(torch.from_numpy(now.history))
        self.module.readings += 1
        self._look_again()
        return self.router.validate()

    def _look_again(self) -> None:
        """Read the base that the module says the statistics are of."""
        parts, history = self.module.parts.clone().numpy(), self.module.history.clone().numpy()
        found = self._read(replace(self._first, parts=parts, history=history))
        self.router.read(found.evidence, found.fitted_on, found.selected_on)
        self.mixture.router.user.standardise_by(torch.from_numpy(found.evidence.user_features))
        self._readings = int(self.module.readings)
