"""Shared losses against their formulas in NumPy."""

import numpy as np
import pytest
import torch

from tests.support import vector_oracles as oracle
from training.fit.losses import bpr_loss, info_nce, mean_square_norm


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
