"""MGCN and SMORE against their equations, written out for two modalities."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.support import vector_oracles as oracle
from training.models.embedding.content import directed_knn
from training.models.embedding.material import Material
from training.models.mgcn import MgcnConfig, MgcnRecipe
from training.models.smore import SmoreConfig, SmoreRecipe

MGCN = MgcnConfig(embedding_size=4, neighbours=4, layers=2, reg=0.2, alignment=0.7)
SMORE = SmoreConfig(embedding_size=5, neighbours=4, layers=3, reg=0.2, alignment=0.7, dropout=0.0)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return oracle.tiny_material(tmp_path_factory.mktemp("run"))


class Parts:
    """What both models are made of."""

    def __init__(self, network: Any, material: Material, layers: int) -> None:
        self.network, train = network, material.split.train
        self.users, self.items = oracle.dense(network.users), oracle.dense(network.items)
        self.n = len(self.users)
        self.behaviour = oracle.light_gcn(train, self.users, self.items, layers)
        self.to_users = oracle.normalised_adjacency(train)[: self.n, self.n :]
        self.graphs = [directed_knn(m, 4, weighted=True).toarray() for m in material.dataset.features.values()]
        self.projected = [
            oracle.linear(project, oracle.dense(table))
            for project, table in zip(network.projections, network.features, strict=True)
        ]

    def gate(self, module: Any, x: oracle.F64) -> oracle.F64:
        return oracle.sigmoid(oracle.linear(module[0], x))

    def view(self, graph: oracle.F64, purifier: Any, x: oracle.F64) -> oracle.F64:
        items = graph @ (self.items * self.gate(purifier, x))
        return np.concatenate([self.to_users @ items, items])


def mgcn_side(parts: Parts) -> tuple[oracle.F64, oracle.F64, oracle.F64]:
    """The whole side view, and its visual and textual addends."""
    network = parts.network
    image, text = (
        parts.view(graph, purifier, x)
        for graph, purifier, x in zip(parts.graphs, network.purifiers, parts.projected, strict=True)
    )
    hidden, out = network.attention[0], network.attention[2]
    scores = [oracle.linear(out, np.tanh(oracle.linear(hidden, x))) for x in (image, text)]
    weights = oracle.softmax(np.concatenate(scores, axis=1), axis=1)
    common = weights[:, :1] * image + weights[:, 1:] * text
    prefer_image, prefer_text = (parts.gate(gate, parts.behaviour) for gate in network.preferences)
    whole = (prefer_image * (image - common) + prefer_text * (text - common) + common) / 3
    only_image = weights[:, :1] * image  # the common part, and what is left, if the text view were nothing
    visual = (prefer_image * (image - only_image) - prefer_text * only_image + only_image) / 3
    return whole, visual, whole - visual


def smore_side(parts: Parts) -> oracle.F64:
    network = parts.network
    spectra = [np.fft.rfft(x, axis=1, norm="ortho") for x in parts.projected]
    kernels = [oracle.dense(kernel) @ np.array([1, 1j]) for kernel in network.filters]
    spectra.append(spectra[0] * spectra[1])
    graphs = [*parts.graphs, np.maximum(*parts.graphs)]
    image, text, fused = (
        parts.view(graph, purifier, np.fft.irfft(spectrum * kernel, n=5, axis=1, norm="ortho"))
        for graph, purifier, spectrum, kernel in zip(graphs, network.purifiers, spectra, kernels, strict=True)
    )
    attended = [
        oracle.softmax(oracle.linear(query[2], np.tanh(oracle.linear(query[0], fused))), axis=1) * view
        for query, view in zip(network.queries, (image, text), strict=True)
    ]
    preferences = [parts.gate(gate, parts.behaviour) for gate in network.preferences]
    addends = [p * x for p, x in zip(preferences, (*attended, fused), strict=True)]
    return np.asarray(sum(addends)) / 3


def check_vectors_and_losses(parts: Parts, side: oracle.F64) -> None:
    network, batch, n = parts.network, oracle.triples(), parts.n
    total = parts.behaviour + side
    vectors = network()
    np.testing.assert_allclose(vectors.users.detach(), total[:n], atol=1e-5)
    np.testing.assert_allclose(vectors.items.detach(), total[n:], atol=1e-5)
    u, i, j = (rows.numpy() for rows in (batch.users, batch.positives, batch.negatives))
    norms = ((total[u] ** 2).sum() + (total[n + i] ** 2).sum() + (total[n + j] ** 2).sum()) / (2 * len(u))
    aligned = sum(oracle.info_nce(side[rows], parts.behaviour[rows], 0.2).mean() for rows in (n + i, u))
    expected = {"bpr": oracle.bpr(total[:n], total[n:], batch), "reg": 0.2 * norms, "alignment": 0.7 * aligned}
    assert oracle.values(network.losses(batch, 0.0)) == pytest.approx(expected, rel=1e-3)


def test_mgcn(material: Material) -> None:
    parts = Parts(oracle.fresh(MgcnRecipe(), material, MGCN), material, layers=2)
    whole, visual, textual = mgcn_side(parts)
    check_vectors_and_losses(parts, whole)
    with torch.no_grad():
        tables = parts.network.tables()
    np.testing.assert_allclose(tables.parts["visual"], visual[parts.n :], atol=1e-5)
    np.testing.assert_allclose(tables.parts["textual"], textual[parts.n :], atol=1e-5)


def test_smore(material: Material) -> None:
    parts = Parts(oracle.fresh(SmoreRecipe(), material, SMORE), material, layers=3)
    side = smore_side(parts)
    check_vectors_and_losses(parts, side)
    with torch.no_grad():
        tables = parts.network.tables()
    np.testing.assert_allclose(sum(tables.parts.values()), side[parts.n :], atol=1e-5)


@pytest.mark.parametrize("trained", [True, False])
def test_features_learn_only_where_asked(material: Material, trained: bool) -> None:
    network = oracle.fresh(MgcnRecipe(), material, MGCN.model_copy(update={"train_features": trained}))
    torch.stack(list(network.losses(oracle.triples(), 0.0).values())).sum().backward()  # type: ignore[no-untyped-call]
    assert all((table.grad is not None) == trained for table in network.features)
