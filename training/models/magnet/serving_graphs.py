"""The two graphs that the service runs for people and items the model never saw, as ONNX.

Axes: `B` batch, `n` history length (padded), `k` neighbours (padded), `E` experts, `M` modalities, `D` width, `W`
residual width. The big tables stay outside: the caller gathers rows and pads them, a mask says what is padding.

`user_encoder.onnx`: history (B, n, D), parts (B, n, M, D), present (B, n, M), mask (B, n)
→ vector (B, D), logits (B, E).
`item_encoder.onnx`: features_<m> (B, d_m) centred unit rows, present (B, M), neighbour_parts (B, k, M, D),
neighbour_history (B, k, D), neighbour_weights (B, k) summing to 1 (or 0 without neighbours)
→ parts (B, M, D), history (B, D), experts (B, E, W), logits (B, E). Its degree is 0 everywhere.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from training.encoders.onnx_export import OPSET, quiet_exporter, to_bytes
from training.models.magnet.experts import StructuredExperts
from training.models.magnet.frozen import NewItemForm
from training.models.magnet.router import NodeFunction
from training.models.magnet.tensor_names import tensor_name

EPSILON = 1e-12


class UserEncoder(nn.Module):
    """`PairScorer.encode_user`, batched and padded."""

    def __init__(self, router: NodeFunction, members: int) -> None:
        super().__init__()
        self.router, self.members = router, members

    def forward(self, history: Tensor, parts: Tensor, present: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The unit vector and the router's logits of each user."""
        kept = mask.to(history.dtype)
        vector = unit_blocks((history * kept[:, :, None]).sum(dim=1), self.members)
        has = present.to(history.dtype) * kept[:, :, None]
        units = parts / parts.norm(dim=3, keepdim=True).clamp_min(EPSILON) * has[:, :, :, None]
        count = has.sum(dim=1)
        pairs = count * (count - 1)
        coherence = (units.sum(dim=1).square().sum(dim=2) - count) / pairs.clamp_min(1.0)
        coherence = torch.where(pairs > 0, coherence, torch.zeros_like(coherence))
        length = kept.sum(dim=1, keepdim=True)
        features = torch.cat([torch.log1p(length), coherence, count / length.clamp_min(1.0)], dim=1)
        return vector, self.router(features)


class ItemEncoder(nn.Module):
    """A new item's rows from its content and its warm neighbours."""

    neighbours: Tensor  # (2, D): history side, candidate side
    common: Tensor  # (D,)

    def __init__(
        self,
        form: NewItemForm,
        members: int,
        history_scale: float,
        experts: StructuredExperts,
        router: NodeFunction,
    ) -> None:
        super().__init__()
        self.names = list(form.projections)
        self.members, self.length, self.experts, self.router = members, form.length, experts, router
        for name in self.names:
            self.register_buffer(tensor_name("candidate", name), torch.from_numpy(form.projections[name]))
            self.register_buffer(
                tensor_name("history", name), torch.from_numpy(form.history_projections[name] / history_scale)
            )
        self.register_buffer("neighbours", torch.from_numpy(form.neighbours))
        self.register_buffer("common", torch.from_numpy(form.common))

    def forward(
        self,
        features: list[Tensor],
        present: Tensor,
        neighbour_parts: Tensor,
        neighbour_history: Tensor,
        neighbour_weights: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Parts, history row, residual expert vectors and router logits."""
        weights = neighbour_weights[:, :, None]
        inferred = (weights[:, :, :, None] * neighbour_parts).sum(dim=1) * self.members**0.5 * self.neighbours[1]
        own = [self.common.expand_as(inferred[:, 0])]
        history = self.neighbours[0] * (weights * neighbour_history).sum(dim=1)
        for column, (name, given) in enumerate(zip(self.names, features, strict=True), start=1):
            rows = given * present[:, column : column + 1].to(given.dtype)
            own.append(rows @ self.get_buffer(tensor_name("candidate", name)))
            history = history + rows @ self.get_buffer(tensor_name("history", name))
        parts = inferred + torch.stack(own, dim=1)
        total = parts.sum(dim=1)
        blocks = (
            total.reshape(-1, self.members, total.shape[1] // self.members).norm(dim=2).clamp_min(EPSILON)
            * self.members**0.5
        )
        parts = parts * (self.length / blocks.repeat_interleave(total.shape[1] // self.members, dim=1))[:, None]
        logits: Tensor = self.router(_new_features(present, history))
        return parts, history, self.experts.item_residuals(parts), logits


def unit_blocks(vectors: Tensor, members: int) -> Tensor:
    """Rows (B, D) with each member's block normalised, over √members; `len` would be a constant to the tracer."""
    blocks = vectors.reshape(-1, members, vectors.shape[1] // members)
    norms: Tensor = blocks.norm(dim=2, keepdim=True).clamp_min(EPSILON)
    return (blocks / norms / math.sqrt(members)).reshape(vectors.shape)


def _new_features(present: Tensor, like: Tensor) -> Tensor:
    """`node_features.item_features` at degree 0."""
    zeros = torch.zeros_like(like[:, :1])
    return torch.cat([zeros, zeros, present[:, 1:].to(like.dtype)], dim=1)


def to_onnx(
    module: nn.Module, inputs: tuple[Tensor | list[Tensor], ...], names: list[str], outputs: list[str], padded: set[int]
) -> bytes:
    """The module as an ONNX file with free batch and row axes.

    Args:
        module: what to export.
        inputs: example inputs, the batch on axis 0.
        names: names of the inputs, lists flattened.
        outputs: names of the outputs.
        padded: positions of the inputs whose axis 1 is free too.

    """
    batch, rows = torch.export.Dim("batch", min=1), torch.export.Dim("rows", min=1)
    shapes = tuple(
        [{0: batch} for _ in value]
        if isinstance(value, list)
        else ({0: batch, 1: rows} if place in padded else {0: batch})
        for place, value in enumerate(inputs)
    )
    with quiet_exporter(), torch.no_grad():
        program = torch.onnx.export(
            module.eval(),
            inputs,
            dynamo=True,
            input_names=names,
            output_names=outputs,
            dynamic_shapes=shapes,
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    return to_bytes(program.model_proto)


def serving_graphs(
    form: NewItemForm,
    members: int,
    history_scale: float,
    experts: StructuredExperts,
    user_router: NodeFunction,
    item_router: NodeFunction,
) -> dict[str, bytes]:
    """`user_encoder.onnx` and `item_encoder.onnx`; the latter only where there is content to know a new item by."""
    n_modalities, width = experts.template.shape[1], form.neighbours.shape[1]
    rows = 5  # any length: the axis is free
    example = (
        torch.randn(2, rows, width),
        torch.randn(2, rows, n_modalities, width),
        torch.ones(2, rows, n_modalities, dtype=torch.bool),
        torch.ones(2, rows, dtype=torch.bool),
    )
    files = {
        "user_encoder.onnx": to_onnx(
            UserEncoder(user_router, members),
            example,
            ["history", "parts", "present", "mask"],
            ["vector", "logits"],
            padded={0, 1, 2, 3},
        )
    }
    if form.projections:
        features = [torch.randn(2, weight.shape[0]) for weight in form.projections.values()]
        files["item_encoder.onnx"] = to_onnx(
            ItemEncoder(form, members, history_scale, experts, item_router),
            (
                features,
                torch.ones(2, n_modalities, dtype=torch.bool),
                torch.randn(2, rows, n_modalities, width),
                torch.randn(2, rows, width),
                torch.full((2, rows), 1 / rows),
            ),
            [
                *(f"features_{name}" for name in form.projections),
                *("present", "neighbour_parts", "neighbour_history", "neighbour_weights"),
            ],
            ["parts", "history", "experts", "logits"],
            padded={2, 3, 4},
        )
    return files
