"""Propagation in both views against dense matrices, in more columns than go through at once.

Axes: `U` users, `I` items, `W` columns.
"""

import numpy as np
import pytest
import torch
from scipy import sparse

from training.graph.content import content_knn
from training.models.magnet.both_views import PIECE, both_views
from training.models.magnet.config import GraphConfig
from training.models.magnet.dual_view import Graphs

N_USERS, N_ITEMS = 30, 20


def graphs_of(config: GraphConfig) -> Graphs:
    rng = np.random.default_rng(0)
    train = sparse.csr_array((rng.random((N_USERS, N_ITEMS)) < 0.2).astype(np.float32))
    features = rng.normal(size=(N_ITEMS, 4)).astype(np.float32)
    content = {"textual": content_knn(features, np.ones(N_ITEMS, np.bool_), k=3)}
    return Graphs(train, content, config, torch.device("cpu"))


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize(
    "config", [GraphConfig(), GraphConfig(rho=0), GraphConfig(edges="pseudo")], ids=["item-item", "rho 0", "pseudo"]
)
def test_views_and_gradient_are_those_of_the_steps_as_matrices(config: GraphConfig, layers: int) -> None:
    graphs = graphs_of(config)
    steps = [graphs.step_original(torch.eye(N_ITEMS)), graphs.step_augmented(torch.eye(N_ITEMS))]
    assert config.rho == 0 or not torch.allclose(steps[0], steps[1])
    means = [sum(torch.linalg.matrix_power(step, hops) for hops in range(layers + 1)) / (layers + 1) for step in steps]
    generator = torch.Generator().manual_seed(1)
    x, *weights = torch.randn(3, N_ITEMS, 2 * PIECE + 5, generator=generator)
    x.requires_grad_()
    found = both_views(x, graphs, layers)
    for view, mean in zip(found, means, strict=True):
        torch.testing.assert_close(view.detach(), mean @ x.detach(), rtol=1e-4, atol=1e-5)
    sum((view * weight).sum() for view, weight in zip(found, weights, strict=True)).backward()
    expected = sum(mean.T @ weight for mean, weight in zip(means, weights, strict=True))
    torch.testing.assert_close(x.grad, expected, rtol=1e-4, atol=1e-5)
