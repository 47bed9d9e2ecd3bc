"""Losses that several models share, each once.

Axes: `B` pairs of a batch, `D` width, `K` tables of vectors.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def bpr_loss(
    users: Float[Tensor, "B D"], positives: Float[Tensor, "B D"], negatives: Float[Tensor, "B D"]
) -> Float[Tensor, ""]:
    """`−mean log σ(⟨u, i⟩ − ⟨u, j⟩)` (Rendle et al. 2009, "BPR: Bayesian personalized ranking", BPR-Opt)."""
    return -functional.logsigmoid((users * (positives - negatives)).sum(dim=1)).mean()


def mean_square_norm(*vectors: Float[Tensor, "B D"]) -> Float[Tensor, ""]:
    """`½ Σ ‖v‖² / B` over the vectors of a batch: the regularisation that goes with BPR."""
    total = vectors[0].square().sum()
    for more in vectors[1:]:
        total = total + more.square().sum()
    return total / (2 * len(vectors[0]))


def info_nce(ours: Float[Tensor, "B D"], theirs: Float[Tensor, "B D"], temperature: float) -> Float[Tensor, " B"]:
    """Per pair `−log(exp(cos(a_i, b_i)/τ) / Σ_j exp(cos(a_i, b_j)/τ))`: views of one thing agree."""
    ours, theirs = functional.normalize(ours, dim=1), functional.normalize(theirs, dim=1)
    logits = ours @ theirs.T / temperature
    return logits.logsumexp(dim=1) - logits.diagonal()
