"""Sparse propagation with gradients, for graphs that never change.

Axes: `R` rows and `C` columns of a graph, `D` width. Autograd through a sparse product needs the product with the
transpose; keeping both is twice the memory of the graph and many times faster than transposing at every step.

On the CPU the product runs as weighted bags of rows, whose generated kernels are four to seven times as fast as torch's
product with a CSR tensor (training/LOG.md). Tables wider than `CHUNK` go through in pieces: those kernels end there.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

CHUNK = 256
FEW = 0.3
"""Beyond this share of its rows, cutting a graph takes longer than its whole product."""


class _Graph:
    """One direction of a graph: `X (C, D) ↦ A X (R, D)`, without gradients."""

    def __init__(self, graph: sparse.csr_array, device: torch.device) -> None:
        self.entries = torch.from_numpy(graph.indices.astype(np.int64)).to(device)
        self.starts = torch.from_numpy(graph.indptr.astype(np.int64)).to(device)
        self.weights = torch.from_numpy(graph.data.astype(np.float32)).to(device)
        self.matrix: Tensor | None = None
        if device.type != "cpu":
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Sparse")  # torch calls its CSR layout beta each time
                self.matrix = torch.sparse_csr_tensor(
                    self.starts, self.entries, self.weights, graph.shape, check_invariants=False
                )

    def product(self, x: Tensor) -> Tensor:
        if self.matrix is not None:
            return self.matrix @ x
        pieces = [self._bags(piece.contiguous()) for piece in torch.split(x, CHUNK, dim=1)]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1)

    def _bags(self, x: Tensor) -> Tensor:
        return torch.nn.functional.embedding_bag(
            self.entries, x, self.starts[:-1], mode="sum", per_sample_weights=self.weights
        )


class Propagation:
    """`X ↦ A X` for a fixed sparse `A`, differentiable in `X`."""

    def __init__(self, graph: sparse.csr_array, device: torch.device | None = None) -> None:
        device = device or torch.device("cpu")
        self.shape: tuple[int, int] = graph.shape
        self.forward_graph = _Graph(_sorted(graph), device)
        self.backward_graph = _Graph(_sorted(graph.T), device)

    def __call__(self, x: Tensor) -> Tensor:
        """`A X` for `x` (C, D)."""
        result: Tensor = _Product.apply(x, self)  # type: ignore[no-untyped-call]
        return result


class RowsOfProduct:
    """Some rows of `A X`, as a batch needs them: of few rows the product of those alone, of many the whole."""

    def __init__(self, graph: sparse.csr_array, device: torch.device | None = None) -> None:
        self.graph, self._device = graph, device
        self._whole: Propagation | None = None

    def __call__(self, rows: NDArray[np.int64], x: Tensor) -> Tensor:
        """Rows (n,) of `A X` for `x` (C, D): (n, D)."""
        if len(rows) < FEW * self.graph.shape[0]:
            return Propagation(self.graph[rows], self._device)(x)
        self._whole = self._whole or Propagation(self.graph, self._device)
        return self._whole(x)[torch.from_numpy(rows).to(x.device)]


def _sorted(graph: sparse.csr_array | sparse.csc_array) -> sparse.csr_array:
    rows: sparse.csr_array = sparse.csr_array(graph)
    rows.sort_indices()
    return rows


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, propagation: Propagation) -> Tensor:
        ctx.propagation = propagation
        with torch.autocast(x.device.type, enabled=False):  # no sparse product in half precision on the CPU
            return propagation.forward_graph.product(x.detach().float())

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None]:
        return ctx.propagation.backward_graph.product(gradients[0].float()), None
