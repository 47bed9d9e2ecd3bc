"""BPR-MF, LightGCN and VBPR: vectors and losses against dense sums, and two optimiser steps by hand."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.support import vector_oracles as oracle
from training.fit.negatives import NegativeSampler
from training.models.bpr import BprRecipe
from training.models.embedding.config import EmbeddingConfig
from training.models.embedding.material import Material
from training.models.embedding.network import Triples
from training.models.embedding.phase import TriplesPhase
from training.models.light_gcn import LightGcnConfig, LightGcnRecipe
from training.models.vbpr import VbprRecipe

SMALL: dict[str, Any] = {"embedding_size": 4, "reg": 0.3}


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return oracle.tiny_material(tmp_path_factory.mktemp("run"))


def half_squares(*tables: oracle.F64) -> float:
    return float(sum((table**2).sum() for table in tables) / 2)


def test_bpr_is_two_tables(material: Material) -> None:
    network, batch = oracle.fresh(BprRecipe(), material, EmbeddingConfig(**SMALL)), oracle.triples()
    users, items = oracle.dense(network.users), oracle.dense(network.items)
    found = oracle.values(network.losses(batch, 0.0))
    touched = half_squares(users[batch.users], items[batch.positives], items[batch.negatives])
    assert found == pytest.approx({"bpr": oracle.bpr(users, items, batch), "reg": 0.3 * touched / 3}, rel=1e-5)


def test_light_gcn_is_the_mean_of_powers_and_regularises_its_tables(material: Material) -> None:
    network = oracle.fresh(LightGcnRecipe(), material, LightGcnConfig(**SMALL, layers=3))
    users, items = oracle.dense(network.users), oracle.dense(network.items)
    expected = oracle.light_gcn(material.split.train, users, items, layers=3)
    vectors, n = network(), len(users)
    np.testing.assert_allclose(vectors.users.detach(), expected[:n], atol=1e-6)
    np.testing.assert_allclose(vectors.items.detach(), expected[n:], atol=1e-6)
    batch = oracle.triples()
    found = oracle.values(network.losses(batch, 0.0))
    touched = half_squares(users[batch.users], items[batch.positives], items[batch.negatives])
    wanted = {"bpr": oracle.bpr(expected[:n], expected[n:], batch), "reg": 0.3 * touched / 3}
    assert found == pytest.approx(wanted, rel=1e-5)


def test_vbpr_is_equation_4(material: Material) -> None:
    network = oracle.fresh(VbprRecipe(), material, EmbeddingConfig(**SMALL))
    with torch.no_grad():
        network.item_bias.normal_()
        network.feature_bias.normal_()
    blocks = []
    for matrix in material.dataset.features.values():
        norms = np.linalg.norm(matrix.values.astype(np.float64), axis=1, keepdims=True)
        blocks.append(np.divide(matrix.values, norms, out=np.zeros(matrix.values.shape), where=norms > 0))
    features = np.concatenate(blocks, axis=1)
    gamma_u, gamma_i, theta = (oracle.dense(x) for x in (network.users, network.items, network.tastes))
    embedded = features @ oracle.dense(network.projection)
    bias = oracle.dense(network.item_bias) + features @ oracle.dense(network.feature_bias)
    expected = gamma_u @ gamma_i.T + theta @ embedded.T + bias
    vectors = network()
    np.testing.assert_allclose((vectors.users @ vectors.items.T).detach(), expected, atol=1e-5)
    with torch.no_grad():
        tables = network.tables()
    visual = theta @ (blocks[0] @ oracle.dense(network.projection)[: blocks[0].shape[1]]).T
    visual += blocks[0] @ oracle.dense(network.feature_bias)[: blocks[0].shape[1]]
    np.testing.assert_allclose(tables.users @ tables.parts["visual"].T, visual, atol=1e-5)


def test_vbpr_regularises_what_content_brings(material: Material) -> None:
    network, batch = oracle.fresh(VbprRecipe(), material, EmbeddingConfig(**SMALL)), oracle.triples()
    with torch.no_grad():
        network.item_bias.normal_()
    users = [oracle.dense(network.users), oracle.dense(network.tastes)]
    embedded, bias = oracle.dense(network.features) @ oracle.dense(network.projection), oracle.dense(network.item_bias)
    items = [oracle.dense(network.items), embedded, bias[:, None]]
    touched = half_squares(*(table[batch.users] for table in users))
    touched += half_squares(*(table[rows] for table in items for rows in (batch.positives, batch.negatives)))
    assert oracle.values(network.losses(batch, 0.0))["reg"] == pytest.approx(0.3 * touched / 3, rel=1e-5)


def test_two_steps_of_training_are_adams(material: Material) -> None:
    """Two, because one would hide gradients that are not cleared."""
    config = EmbeddingConfig(embedding_size=3, reg=0.0, batch_size=10_000, learning_rate=0.05)
    network = oracle.fresh(BprRecipe(), material, config)
    sampler = NegativeSampler(material.split.train)
    phase = TriplesPhase(
        "bpr", network, config, split=material.split, sampler=sampler, seed=0, device=torch.device("cpu")
    )
    users, items = oracle.dense(network.users), oracle.dense(network.items)
    moments = [np.zeros_like(table) for table in (users, items, users, items)]
    taken = np.stack(material.split.train.nonzero())
    for step in range(2):
        order = np.random.default_rng([0, step, 1]).permutation(taken.shape[1])
        u, i = taken[0][order], taken[1][order]
        j = sampler.draw(u.astype(np.int64), np.random.default_rng([0, step]))
        pull = 1 - oracle.sigmoid((users[u] * (items[i] - items[j])).sum(axis=1))
        d_users, d_items = np.zeros_like(users), np.zeros_like(items)
        np.add.at(d_users, u, -pull[:, None] * (items[i] - items[j]) / len(u))
        np.add.at(d_items, i, -pull[:, None] * users[u] / len(u))
        np.add.at(d_items, j, pull[:, None] * users[u] / len(u))
        for place, (table, gradient) in enumerate(((users, d_users), (items, d_items))):
            moments[place] = 0.9 * moments[place] + 0.1 * gradient
            moments[place + 2] = 0.999 * moments[place + 2] + 0.001 * gradient**2
            first, second = moments[place] / (1 - 0.9 ** (step + 1)), moments[place + 2] / (1 - 0.999 ** (step + 1))
            table -= 0.05 * first / (np.sqrt(second) + 1e-8)
        loss = phase.losses(step, np.random.default_rng([0, step]))["bpr"]
        phase.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        phase.optimiser.step()
    np.testing.assert_allclose(network.users.detach(), users, atol=1e-4)
    np.testing.assert_allclose(network.items.detach(), items, atol=1e-4)


def test_every_positive_comes_once_per_epoch(material: Material) -> None:
    config = EmbeddingConfig(embedding_size=2, batch_size=4)
    network = oracle.fresh(BprRecipe(), material, config)
    seen: list[tuple[int, int]] = []

    def remember(batch: Triples, epochs: float) -> dict[str, torch.Tensor]:
        seen.extend(zip(batch.users.tolist(), batch.positives.tolist(), strict=True))
        return {}

    network.losses = remember
    sampler = NegativeSampler(material.split.train)
    phase = TriplesPhase(
        "bpr", network, config, split=material.split, sampler=sampler, seed=3, device=torch.device("cpu")
    )
    for step in range(phase.steps_per_epoch):
        phase.losses(step, np.random.default_rng([3, step]))
    rows, columns = material.split.train.nonzero()
    assert sorted(seen) == sorted(zip(rows.tolist(), columns.tolist(), strict=True))
