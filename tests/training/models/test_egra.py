"""EGRA: a graph that knows the training part alone, joined propagation, two-level weights of the alignment."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import sparse

from tests.support import vector_oracles as oracle
from training.data.interactions import Interactions
from training.models.egra import EgraConfig, EgraRecipe, entity_weights, item_graph_of
from training.models.embedding.material import Material
from training.models.embedding.phase import TriplesPhase

CONFIG = EgraConfig(
    embedding_size=4, neighbours=3, edge_weight=0.5, layers=2, alignment=0.4, rise=10, pretrained_epochs=2
)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return oracle.tiny_material(tmp_path_factory.mktemp("run"))


def test_the_item_graph_knows_nothing_of_validation_and_test(
    material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither part, nor both together, nor the file they come from, nor early stopping, may move an edge."""
    split, dataset = material.split, material.dataset
    graph = EgraRecipe().item_graph(material, CONFIG).toarray()
    mirrored = (sparse.csr_array(part.toarray()[:, ::-1]) for part in (split.valid, split.test))
    only_train = split.train.tocoo()
    interactions = Interactions(only_train.row.astype(np.int32), only_train.col.astype(np.int32))
    other = replace(
        material,
        split=replace(split, valid=next(mirrored), test=next(mirrored)),
        dataset=replace(dataset, interactions=interactions),
    )
    monkeypatch.setattr(TriplesPhase, "validate", lambda _: pytest.fail("the pretraining looks at validation"))
    np.testing.assert_array_equal(EgraRecipe().item_graph(other, CONFIG).toarray(), graph)
    fewer = replace(material, split=replace(split, train=split.valid, train_order=None))
    assert not np.array_equal(EgraRecipe().item_graph(fewer, CONFIG).toarray(), graph)


def test_edges_join_nearest_items_in_either_direction() -> None:
    vectors = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    centred = vectors - vectors.mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    similar = unit @ unit.T
    np.fill_diagonal(similar, -1)
    expected = np.zeros((9, 9))
    for item in range(9):
        for other in np.argsort(-similar[item])[:2]:
            if similar[item, other] > 0:
                expected[item, other] = expected[other, item] = 1
    np.testing.assert_array_equal(item_graph_of(vectors, 2).toarray(), expected)


def test_features_are_not_fitted_to_choices(material: Material) -> None:
    network = oracle.fresh(EgraRecipe(), material, CONFIG)
    sum(network.losses(oracle.triples(), 5.0).values()).backward()
    assert all(table.grad is None for table in network.features)
    assert all(projection.weight.grad.abs().sum() > 0 for projection in network.projections)


def test_views_and_losses(material: Material) -> None:
    network, batch = oracle.fresh(EgraRecipe(), material, CONFIG), oracle.triples()
    train, n = material.split.train, material.dataset.n_users
    graph = EgraRecipe().item_graph(material, CONFIG).toarray()
    joined = np.zeros((n + graph.shape[0],) * 2)
    joined[:n, n:], joined[n:, :n], joined[n:, n:] = train.toarray(), train.toarray().T, 0.5 * graph
    tables = np.concatenate([oracle.dense(network.users), oracle.dense(network.items)])
    behaviour = oracle.mean_of_powers(oracle.symmetric(joined), tables, 2)
    z = np.mean(
        [oracle.linear(p, oracle.dense(f)) for p, f in zip(network.projections, network.features, strict=True)], axis=0
    )
    content = np.concatenate([oracle.normalised_adjacency(train)[:n, n:] @ z, z])
    total = behaviour + content
    vectors = network()
    np.testing.assert_allclose(torch.cat([vectors.users, vectors.items]).detach(), total, atol=1e-5)
    aligned = 0.0
    for rows in (batch.users.numpy(), batch.positives.numpy() + n):
        a, b = behaviour[rows], content[rows]
        norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        weights = (1 - np.divide((a * b).sum(axis=1), norms, out=np.zeros(len(rows)), where=norms > 0)) / 2
        aligned += (weights / weights.mean() * oracle.info_nce(a, b, CONFIG.temperature)).mean()
    found = oracle.values(network.losses(batch, epochs=5.0))
    assert found["bpr"] == pytest.approx(oracle.bpr(total[:n], total[n:], batch), rel=1e-4)
    assert found["alignment"] == pytest.approx(0.4 * 5 / 10 * aligned, rel=1e-3)  # λ(t) = λ_max t / T
    assert oracle.values(network.losses(batch, epochs=0.0))["alignment"] == 0
    late = [oracle.values(network.losses(batch, epochs=epochs))["alignment"] for epochs in (10.0, 99.0)]
    assert late[0] == pytest.approx(late[1])


def test_entity_weights_favour_one_side_and_take_no_gradient() -> None:
    ours = torch.tensor([[1.0, 0.0], [1.0, 0.0]], requires_grad=True)
    theirs = torch.tensor([[1.0, 0.1], [-1.0, 0.1]])
    misaligned, aligned = (entity_weights(ours, theirs, favour) for favour in ("misaligned", "aligned"))
    assert misaligned[1] > misaligned[0]
    assert aligned[0] > aligned[1]
    assert float(aligned.mean()) == pytest.approx(1)
    assert not aligned.requires_grad
