"""FREEDOM against its definition: frozen item graph, pruned user graph, auxiliary loss."""

import signal
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse
from torch import Tensor

from tests.support import vector_oracles as oracle
from training.fit.loop import Interrupted
from training.fit.run import Run
from training.models.embedding.content import directed_knn
from training.models.embedding.material import Material
from training.models.embedding.network import Triples
from training.models.freedom import FreedomConfig, FreedomNetwork, FreedomRecipe, keep_edges, modality_weights

CONFIG = FreedomConfig(embedding_size=4, neighbours=3, layers=2, content_layers=2, reg=0.5, pruned=0.5)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return oracle.tiny_material(tmp_path_factory.mktemp("run"))


def frozen_graph(material: Material) -> oracle.F64:
    visual, textual = (
        directed_knn(material.dataset.features[name], 3, weighted=False).toarray() for name in ("visual", "textual")
    )
    result: oracle.F64 = 0.1 * visual + 0.9 * textual
    return result


def expected_vectors(network: object, material: Material, train: sparse.csr_array) -> tuple[oracle.F64, oracle.F64]:
    users, items = oracle.dense(network.users), oracle.dense(network.items)  # type: ignore[attr-defined]
    table = oracle.light_gcn(train, users, items, layers=2)
    graph = frozen_graph(material)
    return table[: len(users)], table[len(users) :] + graph @ graph @ items


def test_vectors_are_light_gcn_and_ids_over_the_frozen_graph(material: Material) -> None:
    network = oracle.fresh(FreedomRecipe(), material, CONFIG)
    users, items = expected_vectors(network, material, material.split.train)
    vectors = network()
    np.testing.assert_allclose(vectors.users.detach(), users, atol=1e-6)
    np.testing.assert_allclose(vectors.items.detach(), items, atol=1e-6)


def test_parts_are_what_each_modalitys_graph_brings(material: Material) -> None:
    network = oracle.fresh(FreedomRecipe(), material, CONFIG)
    below = frozen_graph(material) @ oracle.dense(network.items)
    visual = 0.1 * directed_knn(material.dataset.features["visual"], 3, weighted=False).toarray() @ below
    np.testing.assert_allclose(network.tables().parts["visual"], visual, atol=1e-6)


def test_training_runs_on_the_pruned_graph_with_the_auxiliary_loss(material: Material) -> None:
    network, batch = oracle.fresh(FreedomRecipe(), material, CONFIG), oracle.triples()
    network.begin_epoch(0, np.random.default_rng(5))
    network.train()
    kept = keep_edges(material.split.train, 0.5, np.random.default_rng(5))
    users, items = expected_vectors(network, material, kept)
    found = oracle.values(network.losses(batch, 0.0))
    content = sum(
        oracle.bpr(users, oracle.linear(project, oracle.dense(table)), batch)
        for project, table in zip(network.projections, network.features, strict=True)
    )
    assert found == pytest.approx({"bpr": oracle.bpr(users, items, batch), "content": 0.5 * content}, rel=1e-4)


def test_edges_are_kept_in_proportion_to_their_weights() -> None:
    # user 0 has one edge to an item of degree 1, user 1 has three to items of degree 1
    train = sparse.csr_array(np.array([[1, 0, 0, 0], [0, 1, 1, 1]], np.float32))
    rng = np.random.default_rng(0)
    kept = [keep_edges(train, 0.25, rng).toarray() for _ in range(3000)]
    assert all(matrix.sum() == 1 for matrix in kept)
    share = np.mean([matrix[0, 0] for matrix in kept])
    assert share == pytest.approx(1 / (1 + 3 / np.sqrt(3)), abs=0.03)  # weights 1/√(1·1) and 1/√(3·1)
    assert keep_edges(train, 1.0, rng).toarray().tolist() == train.toarray().tolist()


def test_a_run_cut_off_within_an_epoch_ends_as_if_it_had_not(material: Material, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"batch_size": 5, "max_epochs": 3})
    whole = FreedomRecipe().fit(material.dataset, material.split, config, Run(tmp_path / "whole"))

    class CutOff(FreedomRecipe):
        def network(self, material: Material, config: FreedomConfig) -> FreedomNetwork:
            network = super().network(material, config)
            steps, losses = iter(range(6)), network.losses

            def until_then(batch: Triples, epochs: float) -> dict[str, Tensor]:
                if next(steps, None) is None:
                    signal.raise_signal(signal.SIGINT)
                return losses(batch, epochs)

            network.losses = until_then  # type: ignore[method-assign]
            return network

    with pytest.raises(Interrupted):
        CutOff().fit(material.dataset, material.split, config, Run(tmp_path / "cut"))
    resumed = FreedomRecipe().fit(material.dataset, material.split, config, Run(tmp_path / "cut", resume=True))
    users = np.arange(material.dataset.n_users)
    np.testing.assert_array_equal(resumed.score_block(users), whole.score_block(users))


def test_weights_of_other_modalities() -> None:
    assert modality_weights(["acoustic"], 0.1) == {"acoustic": 1.0}
    assert modality_weights(["visual"], 0.1) == {"visual": 1.0}
    assert modality_weights(["a", "b"], 0.1) == {"a": 0.5, "b": 0.5}
    assert modality_weights(["visual", "a", "b"], 0.1) == {"visual": 0.1, "a": 0.45, "b": 0.45}
