"""Sparse propagation: the product and its gradient are those of the dense matrix, in mixed precision too."""

import numpy as np
import pytest
import torch
from scipy import sparse

from training.models.propagation import Propagation, RowsOfProduct


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


@pytest.mark.parametrize("count", [5, 19])
def test_rows_of_a_product_are_those_of_the_whole(count: int) -> None:
    rng = np.random.default_rng(1)
    dense = np.where(rng.random((20, 6)) < 0.4, rng.normal(size=(20, 6)), 0).astype(np.float32)
    rows = rng.permutation(20)[:count]
    x = torch.from_numpy(rng.normal(size=(6, 3)).astype(np.float32)).requires_grad_()
    found = RowsOfProduct(sparse.csr_array(dense))(rows, x)
    torch.testing.assert_close(found.detach(), (torch.from_numpy(dense) @ x.detach())[rows])
    found.sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(x.grad, torch.from_numpy(dense[rows]).T @ torch.ones(count, 3))


def test_wide_tables_go_through_in_pieces() -> None:
    dense = np.eye(3, dtype=np.float32) * 2
    x = torch.arange(3 * 600.0).reshape(3, 600)
    torch.testing.assert_close(Propagation(sparse.csr_array(dense))(x), 2 * x)
