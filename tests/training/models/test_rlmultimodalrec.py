"""RLMultimodalRec: LightGCN plus a gated fusion that the loss reaches."""

import numpy as np
import pytest
import torch

from tests.support import vector_oracles as oracle
from training.models.embedding.material import Material
from training.models.rlmultimodalrec import RlMultimodalConfig, RlMultimodalRecipe

CONFIG = RlMultimodalConfig(embedding_size=4, reg=0.3)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return oracle.tiny_material(tmp_path_factory.mktemp("run"))


def test_items_are_light_gcn_plus_the_gated_fusion(material: Material) -> None:
    network, batch = oracle.fresh(RlMultimodalRecipe(), material, CONFIG), oracle.triples()
    users, items = oracle.dense(network.users), oracle.dense(network.items)
    table = oracle.light_gcn(material.split.train, users, items, layers=2)
    z_v, z_t = (
        oracle.linear(project, oracle.dense(features))
        for project, features in zip(network.projections, network.features, strict=True)
    )
    gate = oracle.sigmoid(oracle.linear(network.gate, np.concatenate([z_v, z_t], axis=1)))
    expected = table[len(users) :] + gate * z_v + (1 - gate) * z_t
    vectors = network()
    np.testing.assert_allclose(vectors.items.detach(), expected, atol=1e-5)
    np.testing.assert_allclose(vectors.users.detach(), table[: len(users)], atol=1e-5)
    found = oracle.values(network.losses(batch, 0.0))
    assert found["bpr"] == pytest.approx(oracle.bpr(table[: len(users)], expected, batch), rel=1e-4)

    with torch.no_grad():
        base, visual, textual = network.tables().terms
    np.testing.assert_allclose(visual.gate, gate.mean(axis=1), rtol=1e-4)
    np.testing.assert_allclose(visual.gate + textual.gate, 1, rtol=1e-5)
    np.testing.assert_allclose(visual.gate[:, None] * visual.vectors, gate * z_v, atol=1e-5)
    np.testing.assert_allclose(base.vectors, table[len(users) :], atol=1e-5)


def test_the_loss_reaches_the_fusion(material: Material) -> None:
    network = oracle.fresh(RlMultimodalRecipe(), material, CONFIG)
    network.losses(oracle.triples(), 0.0)["bpr"].backward()
    features = set(network.features.parameters())
    for name, parameter in network.named_parameters():
        if parameter in features:
            assert parameter.grad is None, "features are what they are"
            continue
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
