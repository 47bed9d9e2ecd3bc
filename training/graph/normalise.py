"""Degree normalisation of sparse graphs, square or bipartite.

U users, I items; "weight" of a row or column is the sum of its entries.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from training.errors import TrainingError


def symmetric_normalise(graph: sparse.csr_array) -> sparse.csr_array:
    """`D_row^-½ A D_col^-½` as float32, where `D_row` and `D_col` hold the weights of rows and columns.

    For a symmetric square graph this is the usual normalised adjacency `D^-½ A D^-½`, and for the (U, I) interactions
    the off-diagonal block of the normalised bipartite graph. Isolated rows and columns stay zero, no edge is added or
    lost.

    Raises:
        TrainingError: an entry is negative or not finite, so that its square root would mean nothing.

    """
    checked = _checked(graph)
    row_scale = _power(_weights(checked, axis=1), -0.5)
    column_scale = _power(_weights(checked, axis=0), -0.5)
    data = checked.data * row_scale[_edge_rows(checked)] * column_scale[checked.indices]
    return _with_data(checked, data)


def row_normalise(graph: sparse.csr_array) -> sparse.csr_array:
    """`D_row^-1 A` as float32: every row that has edges sums to one, the others stay zero.

    Raises:
        TrainingError: an entry is negative or not finite.

    """
    checked = _checked(graph)
    data = checked.data * _power(_weights(checked, axis=1), -1.0)[_edge_rows(checked)]
    return _with_data(checked, data)


def _checked(graph: sparse.csr_array) -> sparse.csr_array:
    canonical: sparse.csr_array = graph.tocsr().astype(np.float64)  # a copy: the caller's graph is left alone
    canonical.sum_duplicates()
    if canonical.nnz and not (np.isfinite(canonical.data).all() and canonical.data.min() >= 0):
        bad = canonical.data[~(np.isfinite(canonical.data) & (canonical.data >= 0))][0]
        raise TrainingError(f"edge weights must be finite and ≥ 0, found {bad} in a graph of shape {canonical.shape}")
    return canonical


def _weights(graph: sparse.csr_array, axis: int) -> NDArray[np.float64]:
    return np.asarray(graph.sum(axis=axis), dtype=np.float64)


def _power(weights: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    """(n,) `weights ** exponent`, zero where a node is isolated."""
    scale = np.zeros_like(weights)
    np.power(weights, exponent, out=scale, where=weights > 0)
    return scale


def _edge_rows(graph: sparse.csr_array) -> NDArray[np.int64]:
    """(nnz,) the row of every stored entry."""
    return np.repeat(np.arange(graph.shape[0]), np.diff(graph.indptr))


def _with_data(graph: sparse.csr_array, data: NDArray[np.float64]) -> sparse.csr_array:
    return sparse.csr_array((data.astype(np.float32), graph.indices, graph.indptr), shape=graph.shape)
