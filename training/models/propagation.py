"""Sparse propagation with gradients, for graphs that never change.

Axes: `I` items, `U` users, `D` width. Autograd through a sparse product needs the product with the transpose; keeping
both as CSR is twice the memory of the graph and many times faster than transposing at every step.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor


def to_torch(graph: sparse.csr_array, device: torch.device) -> Tensor:
    """A SciPy CSR matrix as a torch CSR tensor of float32."""
    graph = sparse.csr_array(graph)
    graph.sort_indices()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse")  # torch calls its CSR layout beta at every construction
        return torch.sparse_csr_tensor(
            torch.from_numpy(graph.indptr.astype(np.int64)),
            torch.from_numpy(graph.indices.astype(np.int64)),
            torch.from_numpy(graph.data.astype(np.float32)),
            graph.shape,
            check_invariants=False,
        ).to(device)


class Propagation:
    """`X ↦ A X` for a fixed sparse `A`, differentiable in `X`."""

    def __init__(self, graph: sparse.csr_array, device: torch.device | None = None) -> None:
        device = device or torch.device("cpu")
        self.shape: tuple[int, int] = graph.shape
        self.forward_graph = to_torch(graph, device)
        self.backward_graph = to_torch(sparse.csr_array(graph.T), device)

    def __call__(self, x: Tensor) -> Tensor:
        """`A X` for `x` (columns of A, D)."""
        result: Tensor = _Product.apply(x, self)  # type: ignore[no-untyped-call]
        return result


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, propagation: Propagation) -> Tensor:
        ctx.propagation = propagation
        with torch.autocast(x.device.type, enabled=False):  # no sparse product in half precision on the CPU
            return propagation.forward_graph @ x.float()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None]:
        return ctx.propagation.backward_graph @ gradients[0].float().contiguous(), None
