"""Phase B: fits experts and router on the frozen base, on positives that the base has not seen.

Axes: `n` users of a batch, `C` candidates, `E` experts, `M` modalities.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from training.fit.loop import Phase
from training.fit.losses import lambda_rank
from training.fit.run import Run
from training.models.magnet.candidates import CandidateTable
from training.models.magnet.config import RouterConfig
from training.models.magnet.entropy import EntropySchedule
from training.models.magnet.experts import StructuredExperts
from training.models.magnet.roles import free_experts, structured_experts
from training.models.magnet.router import LEAN, PairRouter, Routing, RoutingStatistics, statistics
from training.models.magnet.scored import Evidence, Mixture
from training.models.magnet.table_scores import BaseVectors, TableScores

SHARPNESS_RATE = 0.03
"""Step size of the scale that scores are compared on, which has to be found before anything else can be."""
DEPTH = 40
"""Ranks that count in the loss: two pages."""
SLOWEST = 0.05
"""Step sizes fall linearly to this share: the last steps average out the noise of small batches."""


class MixtureInFitting(torch.nn.Module):
    """What a checkpoint of this phase holds."""

    def __init__(self, mixture: Mixture, schedule: EntropySchedule, spread: float) -> None:
        super().__init__()
        self.mixture, self.schedule = mixture, schedule
        # how clear a preference a difference of scores is: at first one of candidates' spread; it changes no ranking
        self.log_sharpness = torch.nn.Parameter(torch.tensor(-math.log(spread)))


class RouterPhase(Phase[MixtureInFitting]):
    """Held-out positives are ranked among their users' hard candidates, under the entropy schedule."""

    mixed_precision = False  # bfloat16 cannot tell one hard candidate's score from the next one's

    def __init__(
        self,
        name: str,
        evidence: Evidence,
        mixture: Mixture,
        schedule: EntropySchedule,
        config: RouterConfig,
        *,
        fitted_on: CandidateTable,
        selected_on: CandidateTable,
        run: Run,
    ) -> None:
        self.name, self.config, self.run = name, config, run
        self.average = config.average
        self.mixture, self.schedule = mixture, schedule
        self.read(evidence, fitted_on, selected_on)
        self.module = MixtureInFitting(mixture, schedule, self.fitting.spread())
        self.optimiser = torch.optim.AdamW(
            [
                {"params": list(mixture.parameters()), "weight_decay": config.weight_decay},
                {"params": [self.module.log_sharpness], "weight_decay": 0.0, "lr": SHARPNESS_RATE},
            ],
            lr=config.learning_rate,
        )
        self._rates = [group["lr"] for group in self.optimiser.param_groups]
        self.steps_per_epoch = max(1, math.ceil(len(self.usable) / config.batch_users))

    def read(self, evidence: Evidence, fitted_on: CandidateTable, selected_on: CandidateTable) -> None:
        """Fit and validate on these tables from now on."""
        self.fitting = TableScores(evidence, self.mixture, fitted_on)
        self.selecting = TableScores(evidence, self.mixture, selected_on)
        self.usable = np.flatnonzero(fitted_on.positive.any(dim=1).numpy())

    def selectable(self, step: int) -> bool:
        """Only states of the fully ramped second stage may be chosen: before, experts have not specialised."""
        return self.schedule.ramped

    def losses(self, step: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """Ranking loss, the schedule's pressure, and the bound on the logits."""
        for group, rate in zip(self.optimiser.param_groups, self._rates, strict=True):
            group["lr"] = rate * max(1 - step / self.config.steps, SLOWEST)
        return self.mixture_losses(step, rng)

    def mixture_losses(self, step: int, rng: np.random.Generator, live: BaseVectors | None = None) -> dict[str, Tensor]:
        """The losses, with gradients to a base in training where one is given."""
        rows = torch.from_numpy(self.usable[rng.integers(0, len(self.usable), self.config.batch_users)])
        scores, routing = self.fitting.routed(rows, live)
        logits = scores * self.module.log_sharpness.exp()
        table = self.fitting.table
        relevant = torch.from_numpy(table.held_out)[rows]
        ranking = lambda_rank(logits, table.positive[rows], table.unseen[rows], relevant, depth=DEPTH)
        observed = statistics(routing.probabilities)
        was_second = self.schedule.second_stage
        self.schedule.observe(observed)
        if self.schedule.second_stage and not was_second:
            self.run.log(self.name, step + 1, {"stage_switch": 1.0})
        bound = self.config.z_loss * torch.logsumexp(routing.logits, dim=-1).square().mean()
        if step % 10 == 0:
            self.run.log(self.name, step + 1, self._diagnostics(observed, routing))
        return {"ranking": ranking, "z": bound, **self.schedule.pressure(observed)}

    @torch.no_grad()
    def _diagnostics(self, figures: RoutingStatistics, routing: Routing) -> dict[str, float]:
        use = (routing.gates > 0).float().mean(dim=(0, 1))
        names = [role.name for role in self.mixture.experts.roles]
        return {
            "load_entropy": float(figures.load_entropy),
            "pair_entropy": float(figures.pair_entropy),
            "effective_experts": figures.effective_experts,
            "min_load": float(figures.load.min()),
            "max_load": float(figures.load.max()),
            **{f"load/{name}": float(value) for name, value in zip(names, figures.load, strict=True)},
            **{f"use/{name}": float(value) for name, value in zip(names, use, strict=True)},
        }

    def validate(self) -> dict[str, float]:
        """Recall and NDCG at 20 among the validation users' candidates."""
        return self.selecting.quality()


def fresh_mixture(evidence: Evidence, modalities: Sequence[str], config: RouterConfig, seed: int) -> Mixture:
    """A mixture that has learned nothing yet, for this evidence."""
    generator = torch.Generator().manual_seed(seed)
    experts = StructuredExperts(
        structured_experts(modalities) if config.roles else free_experts(modalities),
        evidence.base.history.shape[1],
        config.expert_width,
        config.expert_scale,
        config.dropout,
        generator,
    )
    router = PairRouter(
        torch.from_numpy(evidence.user_features),
        torch.from_numpy(evidence.item_features),
        torch.tensor([LEAN if role.role == "dominant" else 0.0 for role in experts.roles]),
        n_modalities=len(modalities),
        hidden=config.hidden,
        reads=config.reads,
        top_k=config.top_k or len(modalities),
        generator=generator,
    )
    if not config.roles:
        torch.nn.init.normal_(experts.delta, generator=generator)
    return Mixture(experts, router)
