"""Sparse propagation: the product and its gradient are those of the dense matrix, in mixed precision too."""

import numpy as np
import pytest
import torch
from scipy import sparse

from training.models.propagation import Propagation


@pytest.mark.parametrize("amp", [False, True])
def test_product_and_gradient_are_those_of_the_dense_matrix(amp: bool) -> None:
    rng = np.random.default_rng(0)
    dense = np.where(rng.random((7, 5)) < 0.4, rng.normal(size=(7, 5)), 0).astype(np.float32)
    propagation = Propagation(sparse.csr_array(dense))
    assert propagation.shape == (7, 5)
    x = torch.from_numpy(rng.normal(size=(5, 3)).astype(np.float32)).requires_grad_()
    weights = torch.from_numpy(rng.normal(size=(7, 3)).astype(np.float32))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=amp):
        found = propagation(x)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.detach(), torch.from_numpy(dense) @ x.detach())
    (found * weights).sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(x.grad, torch.from_numpy(dense).T @ weights)


def test_a_graph_without_edges_gives_zeros() -> None:
    propagation = Propagation(sparse.csr_array(np.zeros((4, 4), np.float32)))
    assert not propagation(torch.ones(4, 2)).any()
