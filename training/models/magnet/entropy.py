"""Progressive, entropy-triggered routing: coverage first, then specialisation (MAGNET's abstract; values ours).

Stage 1 presses towards the use of all experts. When the use is even and the hesitation per pair has settled, or at the
cap, stage 2 ramps up a pressure towards decided pairs, under floors; where an expert falls out of use, coverage
returns.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.models.magnet.config import EntropyConfig
from training.models.magnet.router import RoutingStatistics

COLLAPSED = 0.25


class EntropySchedule(nn.Module):
    """The stage and its moving averages; buffers, so that a checkpoint carries them."""

    switch_step: Tensor  # -1 before the switch
    steps: Tensor
    load_average: Tensor
    pair_average: Tensor
    window: Tensor  # (config.window,) the last values of `pair_average`

    def __init__(self, config: EntropyConfig, total_steps: int) -> None:
        super().__init__()
        self.config = config
        self.cap = config.latest_switch(total_steps)
        self.register_buffer("switch_step", torch.tensor(-1))
        self.register_buffer("steps", torch.tensor(0))
        self.register_buffer("load_average", torch.tensor(0.0))
        self.register_buffer("pair_average", torch.tensor(1.0))
        self.register_buffer("window", torch.full((config.window,), torch.inf))

    @property
    def second_stage(self) -> bool:
        """Whether specialisation has begun."""
        return int(self.switch_step) >= 0

    @property
    def ramped(self) -> bool:
        """Whether the second stage's pressure is at its full weight."""
        return self.second_stage and int(self.steps) >= int(self.switch_step) + self.config.ramp

    def observe(self, statistics: RoutingStatistics) -> None:
        """Take one step's statistics in, and switch when the trigger says so."""
        decay = self.config.decay if int(self.steps) else 0.0
        self.load_average.mul_(decay).add_((1 - decay) * statistics.load_entropy.detach())
        self.pair_average.mul_(decay).add_((1 - decay) * statistics.pair_entropy.detach())
        slot = int(self.steps) % self.config.window
        settled = abs(float(self.pair_average - self.window[slot])) < self.config.plateau
        self.window[slot] = self.pair_average
        self.steps += 1
        even = float(self.load_average) >= self.config.load_threshold
        due = int(self.steps) >= self.config.min_steps and settled and even
        if not self.second_stage and (due or int(self.steps) >= self.cap):
            self.switch_step.copy_(self.steps)

    def pressure(self, statistics: RoutingStatistics) -> dict[str, Tensor]:
        """The schedule's parts of the loss for these statistics."""
        config = self.config
        coverage = config.coverage * (1 - statistics.load_entropy)
        if not self.second_stage:
            return {"coverage": coverage}
        collapsed = statistics.relative_min_load < COLLAPSED or float(self.load_average) < config.load_floor
        ramp = min(1.0, (int(self.steps) - int(self.switch_step)) / config.ramp)
        undecided = (statistics.pair_entropy - config.pair_floor).clamp_min(0)
        return {
            "coverage": coverage if collapsed else 0.0 * coverage,
            "specialisation": ramp * config.specialisation * undecided,
        }
