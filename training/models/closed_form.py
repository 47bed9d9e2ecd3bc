"""EASE with a content prior: a linear item–item model in closed form, the term `item-item` [ours, not MAGNET's].

U users, I items, M content modalities, n rows of a block. With the training interactions R, `G = RᵀR`, a content graph
`S = Σ_m α_m S^m` and regularisation λ, the weights minimise

    ‖R − R B‖² + λ ‖B − c S‖²   with zero diagonal.

EASE (Steck 2019) is c = 0. Setting the gradient to zero, with a multiplier per diagonal entry and `P = (G + λI)⁻¹`:

    B = (I − P D) + λ c Σ_m α_m (P S^m − P D diag(P S^m)),   D = diag(P)⁻¹,

each bracket with a zero diagonal of its own. B is linear in S, so the split over behaviour and content is exact.

For an item without interactions the behaviour column is zero and the content column would be shrunk most by the most
popular history items, which says nothing about that item; it is `κ Σ_m α_m S^m_:j` instead.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from training.errors import TrainingError
from training.models.item_item import BEHAVIOUR, ItemItem, strongest_per_row

DENSE_LIMIT = 20_000
"""Items up to which the dense inverse is affordable: 1.6 GB in float32 at the limit."""


@dataclass(frozen=True)
class ClosedFormSettings:
    """What defines the model beside the data; chosen by `closed_form_search.choose`."""

    reg: float
    """λ, in interactions."""
    content: float
    """c, the weight of the content prior; 0 is EASE."""
    mix: Mapping[str, float]
    """α per content modality; they sum to one."""
    cold_scale: float = 0.0
    """κ, the weight of content neighbours for an item without interactions."""


def why_off(n_items: int) -> str | None:
    """Why the closed form is not available at this size; None where it is."""
    if n_items <= DENSE_LIMIT:
        return None
    return f"the dense closed form is limited to {DENSE_LIMIT} items, the catalogue has {n_items}"


class Solution:
    """`(G + λI)⁻¹` and the products with B that follow from it; B itself is never held dense."""

    def __init__(self, gram: NDArray[np.float32], reg: float, device: torch.device) -> None:
        self.reg = reg
        self.inverse = _inverse(gram, reg, device)
        self.diagonal = np.diagonal(self.inverse).copy()

    def behaviour(self, history: sparse.csr_array, products: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, I) `H (I − P D)`; `history` (n, I) is sparse and `products` is `H P`."""
        weights = -products / self.diagonal
        weights[_entry_rows(history), history.indices] += history.data
        return weights

    def content(self, products: NDArray[np.float32], graph: sparse.csr_array) -> NDArray[np.float32]:
        """(n, I) `λ H (P S − P D diag(P S))` for one symmetric content graph; times c it is that graph's share."""
        own = _entry_sums(graph, self.inverse) / self.diagonal  # D diag(P S)
        through = np.ascontiguousarray((graph @ np.ascontiguousarray(products.T)).T)
        return np.asarray(self.reg * (through - products * own), dtype=np.float32)


def gram(train: sparse.csr_array) -> NDArray[np.float32]:
    """(I, I) dense `RᵀR`.

    Raises:
        TrainingError: too many items for the dense form.

    """
    reason = why_off(train.shape[1])
    if reason:
        raise TrainingError(reason)
    return np.asarray((train.T @ train).toarray(), dtype=np.float32)


def fit_closed_form(
    train: sparse.csr_array,
    graphs: Mapping[str, sparse.csr_array],
    settings: ClosedFormSettings,
    *,
    per_row: int = 50,
    device: torch.device | None = None,
) -> ItemItem:
    """Solve for B and keep the strongest entries per row.

    Args:
        train: (U, I) interactions.
        graphs: (I, I) symmetric content graph per modality.
        settings: λ, c, α and κ.
        per_row: entries kept per history item.
        device: where the inverse is computed; the CPU where omitted.

    Raises:
        TrainingError: too many items for the dense form, or `mix` names a modality without a graph.

    """
    started = time.monotonic()
    if not settings.mix.keys() <= graphs.keys():
        raise TrainingError(f"expected content graphs for {sorted(settings.mix)}, found {sorted(graphs)}")
    solution = Solution(gram(train), settings.reg, device or torch.device("cpu"))
    n_items = train.shape[1]
    cold = np.bincount(train.indices, minlength=n_items) == 0
    one_each = sparse.eye_array(n_items, dtype=np.float32, format="csr")

    def rows_of(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        products = solution.inverse[rows]
        shares = [solution.behaviour(one_each[rows], products)]
        for name, alpha in settings.mix.items():
            share = settings.content * alpha * solution.content(products, graphs[name])
            share[:, cold] = settings.cold_scale * alpha * graphs[name][rows].toarray()[:, cold]
            shares.append(share)
        return np.stack(shares)

    facts: dict[str, float | str] = {"lambda": settings.reg, "c": settings.content, "cold_scale": settings.cold_scale}
    facts |= {f"alpha_{name}": alpha for name, alpha in settings.mix.items()}
    result = strongest_per_row(rows_of, n_items, (BEHAVIOUR, *settings.mix), per_row, facts, first=cold)
    facts["seconds"] = time.monotonic() - started
    return result


def _inverse(gram_matrix: NDArray[np.float32], reg: float, device: torch.device) -> NDArray[np.float32]:
    """(I, I) `(G + λI)⁻¹` by Cholesky; float32 will do: the condition number is below `1 + |G| / λ`."""
    shifted = torch.from_numpy(gram_matrix).to(device, copy=True)
    shifted.diagonal().add_(reg)
    symmetric = torch.cholesky_inverse(torch.linalg.cholesky(shifted)).cpu().numpy()
    inverse: NDArray[np.float32] = np.ascontiguousarray(symmetric.T)  # LAPACK leaves columns; sparse products want rows
    if not np.isfinite(inverse).all():
        raise TrainingError(f"the closed form has no finite solution at λ = {reg}")
    return inverse


def _entry_sums(graph: sparse.csr_array, dense: NDArray[np.float32]) -> NDArray[np.float32]:
    """(I,) `diag(P S)` for symmetric P and S: the row sums of their entrywise product."""
    products = dense[_entry_rows(graph), graph.indices] * graph.data
    return np.bincount(_entry_rows(graph), weights=products, minlength=graph.shape[0]).astype(np.float32)


def _entry_rows(matrix: sparse.csr_array) -> NDArray[np.int64]:
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
