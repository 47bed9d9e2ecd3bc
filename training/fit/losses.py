"""Losses that several models share, each once.

Axes: `B` pairs of a batch, `D` width, `K` tables of vectors, `n` users, `C` candidates, `P` positives.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
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


def lambda_rank(
    scores: Float[Tensor, "n C"],
    positive: Bool[Tensor, "n C"],
    candidate: Bool[Tensor, "n C"],
    relevant: Int[Tensor, " n"],
    *,
    depth: int,
) -> Float[Tensor, ""]:
    """The mean of `log(1 + exp(s_j − s_i))` over positives i and other candidates j, weighted by `|ΔNDCG_ij|`.

    ΔNDCG is what the NDCG of the first `depth` ranks would change by if the two swapped places (Burges 2010, "From
    RankNet to LambdaRank to LambdaMART", section 4). So a pair counts as much as it matters to the top of the list;
    cross-entropy over the candidates weighs all ranks alike, and was worse at the top (training/LOG.md).

    Args:
        scores: of each user's candidates, on a scale at which a difference of 1 is a clear preference.
        positive: which of them are positives.
        candidate: which of them count at all.
        relevant: how many positives a user has, among the candidates or not.
        depth: ranks that count.

    """
    with torch.no_grad():
        rank = scores.argsort(dim=1, descending=True).argsort(dim=1)
        discount = 1 / torch.log2(torch.arange(2.0, depth + 2.0, device=scores.device))
        gain = torch.where(rank < depth, discount[rank.clamp_max(depth - 1)], 0.0)
        ideal = torch.cumsum(discount, 0)[relevant.clamp(1, depth) - 1]
        user, item = positive.nonzero(as_tuple=True)
        delta = (gain[user, item, None] - gain[user]).abs() / ideal[user, None]
        delta = delta.masked_fill(positive[user] | ~candidate[user], 0.0)
    ahead = scores[user] - scores[user, item, None]
    return (functional.softplus(ahead) * delta).sum() / delta.sum().clamp_min(1e-12)
