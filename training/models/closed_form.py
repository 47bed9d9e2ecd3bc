"""A denoising EASE with a content prior: linear, item–item, in closed form; the term `item-item` [ours, not MAGNET's].

U users, I items, M content modalities, n rows of a block. With the training interactions R, a user of `n_u` of them
weighing `n_u^(−a)`, so `G = Rᵀ diag(n^(−a)) R`, a content graph `S = Σ_m α_m S^m` and regularisation λ, the weights
minimise

    Σ_u n_u^(−a) ‖r_u − r_u B‖² + p Σ_i G_ii ‖B_i‖² + λ ‖B − c S‖²   with zero diagonal.

EASE (Steck 2019) is a = p = c = 0. The second term is what it costs on average to predict histories of which items are
missing at random, a share `p / (1 + p)` of them (Steck 2020, "Autoencoders that don't overfit towards the identity"):
items must not lean on single others, and popular ones are held back most. With `a` a few long histories no longer
decide for everybody [ours]. Setting the gradient to zero, with a multiplier per diagonal entry and
`P = (G + p diag(G) + λI)⁻¹`:

    B = (I − P D) + λ c Σ_m α_m (P S^m − P D diag(P S^m)),   D = diag(P)⁻¹,

each bracket with a zero diagonal of its own. B is linear in S, so the split over behaviour and content is exact.

Of a large catalogue only the K most popular items predict (`MOST_PREDICTORS`): rows of B that belong to others are held
at zero, and P is over those K. What is said above then holds of the columns of the K items. A column of any other item
has no entry of its own to be kept at zero, so there `B = P (G + λ c Σ_m α_m S^m)`, from the K rows of G and S.

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

MOST_PREDICTORS = 20_000
"""Items that others are predicted by: the dense inverse is affordable up to there, 1.6 GB in float32."""


@dataclass(frozen=True)
class ClosedFormSettings:
    """What defines the model beside the data; chosen by `closed_form_search.choose`."""

    reg: float
    """λ, in (weighted) interactions."""
    content: float
    """c, the weight of the content prior; 0 is EASE."""
    mix: Mapping[str, float]
    """α per content modality; they sum to one."""
    cold_scale: float = 0.0
    """κ, the weight of content neighbours for an item without interactions."""
    tempering: float = 0.0
    """a, the power of the history's length by which a user weighs less; 0 in EASE."""
    denoising: float = 0.0
    """p, the odds that an item of a history is missing; 0 in EASE."""


@dataclass(frozen=True)
class Moments:
    """The rows of `G` that belong to the K items which predict."""

    predictors: NDArray[np.int64]
    """(K,) item rows, ascending; all where there are not too many."""
    others: NDArray[np.int64]
    """(I - K,) the other item rows, ascending."""
    among: NDArray[np.float32]
    """(K, K) dense."""
    towards: sparse.csr_array
    """(K, I - K)"""


class Solution:
    """`P` and the products with B that follow from it; B itself is never held dense."""

    def __init__(self, moments: Moments, reg: float, device: torch.device, denoising: float = 0.0) -> None:
        self.reg = reg
        self._moments = moments
        self._all = not len(moments.others)
        self._inverse = _inverse(moments.among, reg + np.float32(denoising) * np.diagonal(moments.among), device)
        if not np.isfinite(self._inverse).all():
            raise TrainingError(f"the closed form has no finite solution at λ = {reg}")
        self._diagonal = np.diagonal(self._inverse).copy()

    def products(self, history: sparse.csr_array) -> NDArray[np.float32]:
        """(n, K) `H P`; `history` (n, I) is sparse."""
        return np.asarray(self._read(history) @ self._inverse)

    def behaviour(self, history: sparse.csr_array, products: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, I) `H (I − P D)`, and `H P G` for items that do not predict; `products` are those of this history."""
        read = self._read(history)
        among = -products / self._diagonal
        among[_entry_rows(read), read.indices] += read.data
        return among if self._all else self._over_all(among, products @ self._moments.towards)

    def content(self, products: NDArray[np.float32], graph: sparse.csr_array) -> NDArray[np.float32]:
        """(n, I) `λ H (P S − P D diag(P S))`, `λ H P S` for items that do not predict; times c it is S's share.

        S is one symmetric content graph (I, I).
        """
        read = self._read(graph)  # (I, K)
        among = read if self._all else read[self._moments.predictors]
        own = _entry_sums(among, self._inverse) / self._diagonal  # D diag(P S)
        transposed = np.ascontiguousarray(products.T)
        through = np.ascontiguousarray((among @ transposed).T) - products * own
        if not self._all:
            through = self._over_all(through, (read[self._moments.others] @ transposed).T)
        return np.asarray(self.reg * through, dtype=np.float32)

    def _read(self, matrix: sparse.csr_array) -> sparse.csr_array:
        """(n, K) of (n, I)."""
        return matrix if self._all else sparse.csr_array(matrix[:, self._moments.predictors])

    def _over_all(self, among: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, I) of (n, K) and (n, I - K)."""
        whole = np.empty((len(among), among.shape[1] + others.shape[1]), dtype=np.float32)
        whole[:, self._moments.predictors], whole[:, self._moments.others] = among, others
        return whole


def moments_of(train: sparse.csr_array, tempering: float, n_predictors: int) -> Moments:
    """What the closed form needs of `G`, from the training interactions (U, I); K is at most `n_predictors`."""
    counts = np.bincount(train.indices, minlength=train.shape[1])
    predicts = np.zeros(len(counts), bool)
    predicts[np.argsort(-counts, kind="stable")[:n_predictors]] = True
    if tempering:
        train = sparse.csr_array(sparse.diags_array(np.sqrt(user_weights(train, tempering))) @ train)
    by_item = sparse.csc_array(train)
    read, rest = by_item[:, predicts], by_item[:, ~predicts]
    among = np.asarray((read.T @ read).toarray(), dtype=np.float32)
    return Moments(np.flatnonzero(predicts), np.flatnonzero(~predicts), among, sparse.csr_array(read.T @ rest))


def user_weights(train: sparse.csr_array, tempering: float) -> NDArray[np.float32]:
    """(U,) `n^(−a)`."""
    return np.maximum(np.diff(train.indptr), 1).astype(np.float32) ** np.float32(-tempering)


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
        settings: λ, c, α, κ, a and p.
        per_row: entries kept per history item.
        device: where the inverse is computed; the CPU where omitted.

    Raises:
        TrainingError: `mix` names a modality without a graph, or there is no finite solution.

    """
    started = time.monotonic()
    if not settings.mix.keys() <= graphs.keys():
        raise TrainingError(f"expected content graphs for {sorted(settings.mix)}, found {sorted(graphs)}")
    moments = moments_of(train, settings.tempering, MOST_PREDICTORS)
    solution = Solution(moments, settings.reg, device or torch.device("cpu"), settings.denoising)
    n_items = train.shape[1]
    cold = np.bincount(train.indices, minlength=n_items) == 0
    one_each = sparse.eye_array(n_items, dtype=np.float32, format="csr")

    def rows_of(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        products = solution.products(one_each[rows])
        shares = [solution.behaviour(one_each[rows], products)]
        for name, alpha in settings.mix.items():
            share = settings.content * alpha * solution.content(products, graphs[name])
            share[:, cold] = settings.cold_scale * alpha * graphs[name][rows].toarray()[:, cold]
            shares.append(share)
        return np.stack(shares)

    facts: dict[str, float | str] = {"lambda": settings.reg, "c": settings.content, "cold_scale": settings.cold_scale}
    facts |= {"tempering": settings.tempering, "denoising": settings.denoising, "predictors": len(moments.predictors)}
    facts |= {f"alpha_{name}": alpha for name, alpha in settings.mix.items()}
    result = strongest_per_row(rows_of, n_items, (BEHAVIOUR, *settings.mix), per_row, facts, first=cold)
    facts["seconds"] = time.monotonic() - started
    return result


def _inverse(gram_matrix: NDArray[np.float32], shift: NDArray[np.float32], device: torch.device) -> NDArray[np.float32]:
    """(I, I) `(G + diag(shift))⁻¹` by Cholesky; float32 will do: the condition number is below `1 + |G| / λ`."""
    shifted = torch.from_numpy(gram_matrix).to(device, copy=True)
    shifted.diagonal().add_(torch.from_numpy(shift).to(device))
    symmetric = torch.cholesky_inverse(torch.linalg.cholesky(shifted)).cpu().numpy()
    inverse: NDArray[np.float32] = np.ascontiguousarray(symmetric.T)  # LAPACK leaves columns; sparse products want rows
    return inverse


def _entry_sums(graph: sparse.csr_array, dense: NDArray[np.float32]) -> NDArray[np.float32]:
    """(I,) `diag(P S)` for symmetric P and S: the row sums of their entrywise product."""
    products = dense[_entry_rows(graph), graph.indices] * graph.data
    return np.bincount(_entry_rows(graph), weights=products, minlength=graph.shape[0]).astype(np.float32)


def _entry_rows(matrix: sparse.csr_array) -> NDArray[np.int64]:
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
