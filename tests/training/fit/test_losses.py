"""Shared losses against their formulas in NumPy."""

import math

import numpy as np
import pytest
import torch

from tests.support import vector_oracles as oracle
from training.fit.losses import bpr_loss, info_nce, lambda_rank, mean_square_norm


def test_bpr_golden() -> None:
    # ⟨u,i⟩ − ⟨u,j⟩ = 1·(2 − 1) + 0 = 1 and 2·(0 − 1) + 1·(1 − 0) = −1
    users, positives = torch.tensor([[1.0, 0.0], [2.0, 1.0]]), torch.tensor([[2.0, 5.0], [0.0, 1.0]])
    negatives = torch.tensor([[1.0, 5.0], [1.0, 0.0]])
    expected = (np.log(1 + np.exp(-1)) + np.log(1 + np.exp(1))) / 2
    assert float(bpr_loss(users, positives, negatives)) == pytest.approx(expected)


def test_norms_are_half_the_squares_over_the_batch() -> None:
    a, b = torch.tensor([[3.0, 4.0], [0.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    assert float(mean_square_norm(a, b)) == pytest.approx((25 + 5) / (2 * 2))


def test_info_nce_is_cross_entropy_of_cosines() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    found = info_nce(torch.from_numpy(a), torch.from_numpy(b), 0.2)
    np.testing.assert_allclose(found.numpy(), oracle.info_nce(a, b, 0.2))
    assert float(info_nce(torch.from_numpy(a), torch.from_numpy(a), 0.01).max()) < float(found.max())


def test_lambda_rank_gives_a_pair_what_its_swap_does_to_ndcg() -> None:
    """Every pair of a small list swapped for real, and NDCG at 3 reckoned before and after."""
    generator = torch.Generator().manual_seed(2)
    scores = torch.randn(2, 6, generator=generator, dtype=torch.float64)
    positive = torch.tensor([[1, 0, 0, 1, 0, 0], [0, 0, 1, 0, 0, 0]]).bool()
    candidate = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 1]]).bool()
    relevant, depth = torch.tensor([4, 1]), 3
    scores[1, 4] = -1e9  # what is no candidate stands last

    def ndcg(order: list[int], user: int) -> float:
        gained = sum(1 / math.log2(rank + 2) for rank, item in enumerate(order[:depth]) if positive[user, item])
        return gained / sum(1 / math.log2(rank + 2) for rank in range(min(depth, int(relevant[user]))))

    total = weights = 0.0
    for user in range(2):
        order = scores[user].argsort(descending=True).tolist()
        for i in range(6):
            for j in range(6):
                if positive[user, i] and not positive[user, j] and candidate[user, j]:
                    swapped = [{i: j, j: i}.get(item, item) for item in order]
                    clear = math.log1p(math.exp(float(scores[user, j] - scores[user, i])))
                    weight = abs(ndcg(swapped, user) - ndcg(order, user))
                    total, weights = total + weight * clear, weights + weight
    assert weights > 0.5
    found = lambda_rank(scores.float(), positive, candidate, relevant, depth=depth)
    assert float(found) == pytest.approx(total / weights, rel=1e-5)
