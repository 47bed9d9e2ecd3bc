"""The moving average of a module's parameters: smoother than any step, it is validated and kept in their place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Averages:
    """Exponential moving averages of all parameters; early steps, which know little, are forgotten faster.

    Parameters whose `decay`, by name, is 0 stay as they are, and nothing is kept of them.
    """

    def __init__(self, module: nn.Module, decay: Callable[[str], float]) -> None:
        self._decay, self._module = decay, module
        self._values = {name: value for name, value in self._latest().items() if decay(name)}

    def _latest(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self._module.named_parameters()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the parameters as they are after `step` (from 1) steps."""
        for name, value in self._module.named_parameters():
            if name in self._values:
                self._values[name].lerp_(value, 1 - min(self._decay(name), step / (step + 9)))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The module with the averages in place of its parameters."""
        latest = self._latest() if self._values else {}
        self._module.load_state_dict(self._values, strict=False)
        try:
            yield
        finally:
            self._module.load_state_dict(latest, strict=False)

    def state(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        return self._values

    def load(self, state: Mapping[str, Tensor]) -> None:
        """From a checkpoint, which is read where there is no accelerator."""
        self._values = {name: state[name].to(value.device, copy=True) for name, value in self._values.items()}
