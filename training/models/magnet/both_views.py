"""Propagation of a table in both views at once, with its gradient: the mean over layers of hops along fixed graphs.

Axes: `I` items, `W` any width. Columns do not meet on the way, so they go through `PIECE` at a time: what a hop writes
is still in the processor's cache when the next one gathers from it, which halves the time (training/LOG.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

PIECE = 64


@runtime_checkable
class Steps(Protocol):
    """One hop in either view, each along a symmetric graph: a step is its own transpose."""

    def step_original(self, x: Float[Tensor, "I W"]) -> Float[Tensor, "I W"]:
        """One hop in the original view."""

    def step_augmented(
        self, x: Float[Tensor, "I W"], original: Float[Tensor, "I W"] | None = None
    ) -> Float[Tensor, "I W"]:
        """One hop in the augmented view; `original` is `step_original(x)` where it is known."""

    def step_both(self, original: Float[Tensor, "I W"], augmented: Float[Tensor, "I W"]) -> Float[Tensor, "I W"]:
        """The sum of a hop of `original` in its view and of `augmented` in its own."""


def both_views(x: Float[Tensor, "I W"], steps: Steps, layers: int) -> tuple[Float[Tensor, "I W"], Float[Tensor, "I W"]]:
    """The mean over none to `layers` hops, at least one, in the original and in the augmented view; linear in `x`."""
    original, augmented = _BothViews.apply(x, steps, layers)  # type: ignore[no-untyped-call]
    return original, augmented


class _BothViews(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, steps: Steps, layers: int) -> tuple[Tensor, Tensor]:
        ctx.steps, ctx.layers = steps, layers
        views = torch.empty_like(x, dtype=torch.float32), torch.empty_like(x, dtype=torch.float32)
        for columns in _pieces(x):
            original = augmented = x[:, columns].float().contiguous()
            sums = original.clone(), original.clone()
            for layer in range(layers):
                hop = steps.step_original(original)
                # the views still agree on what the first hop starts from
                augmented = steps.step_augmented(augmented, hop if layer == 0 else None)
                original = hop
                for total, term in zip(sums, (original, augmented), strict=True):
                    total.add_(term)
            for view, total in zip(views, sums, strict=True):
                torch.div(total, layers + 1, out=view[:, columns])
        return views

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None, None]:
        steps: Steps = ctx.steps
        result = torch.empty_like(gradients[0])
        for columns in _pieces(result):
            # Σ_l Sᵀˡ g, innermost hop first; the last hop of both views is one
            original, augmented = first = [gradient[:, columns].contiguous() for gradient in gradients]
            for _ in range(ctx.layers - 1):
                original = steps.step_original(original).add_(first[0])
                augmented = steps.step_augmented(augmented).add_(first[1])
            last = steps.step_both(original, augmented)
            torch.div(last.add_(first[0]).add_(first[1]), ctx.layers + 1, out=result[:, columns])
        return result, None, None


def _pieces(x: Tensor) -> Iterator[slice]:
    width = x.shape[1] if x.device.type != "cpu" else PIECE
    return (slice(start, start + width) for start in range(0, x.shape[1], width))
