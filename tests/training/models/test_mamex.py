"""MAMEX against its equations; what of it reads the whole catalogue; negatives; which items choose the epoch."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support import vector_oracles as oracle
from tests.support.tiny_dataset import tiny_dataset
from training.data.splits import split_dataset
from training.evaluation.protocol import AMONG_COLD, evaluate
from training.fit.run import Run
from training.models.embedding.material import Material
from training.models.mamex import MamexConfig, MamexRecipe, from_uniform, top_softmax

CONFIG = MamexConfig(embedding_size=4, reg=0.3, alignment=0.5, balance=0.25, dropout=0.0)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return oracle.tiny_material(tmp_path_factory.mktemp("run"))


def test_items_are_mixtures_of_their_modalities(material: Material) -> None:
    network, batch = oracle.fresh(MamexRecipe(), material, CONFIG), oracle.triples()
    n_items = material.dataset.n_items
    modalities, chances = np.zeros((n_items, 2, 4)), np.zeros((n_items, 2, 4))
    for m, matrix in enumerate(material.dataset.features.values()):
        for item in range(n_items):
            x = matrix.values[item].astype(np.float64)
            x = x / max(np.linalg.norm(x), 1e-12)
            logits = oracle.linear(network.gates[m], x)
            chances[item, m] = oracle.softmax(logits, 0)
            best = np.argsort(-logits)[:2]
            gates = np.exp(logits[best]) / np.exp(logits[best]).sum()
            modalities[item, m] = gates @ oracle.linear(network.experts[m], x).reshape(4, 4)[best]
    hidden = np.maximum(oracle.linear(network.fusion[0], modalities.reshape(n_items, 8)), 0)
    logits = oracle.linear(network.fusion[3], hidden)
    present = np.stack([matrix.present for matrix in material.dataset.features.values()], axis=1)
    present |= ~present.any(axis=1, keepdims=True)
    assert not present.all()
    fusion = oracle.softmax(np.where(present, logits, -1e9), axis=1)
    items = (fusion[:, :, None] * modalities).sum(axis=1)
    np.testing.assert_allclose(network().items.detach(), items, atol=1e-5)

    users, rows = oracle.dense(network.users), np.concatenate([batch.positives, batch.negatives])
    apart = ((items[:, None] - modalities) ** 2).mean(axis=2)
    alignment = sum(apart[present[:, m], m].mean() for m in range(2))  # over the whole catalogue, cold items too
    balance = (
        sum((0.25 * np.log(0.25 / chances[:, m].mean(axis=0))).sum() for m in range(2))
        + (0.5 * np.log(0.5 / fusion.mean(axis=0))).sum()
    )
    norms = ((users[batch.users] ** 2).sum() + (items[rows] ** 2).sum()) / (2 * 3)
    expected = {
        "bpr": oracle.bpr(users, items, batch),
        "reg": 0.3 * norms,
        "alignment": 0.5 * alignment,
        "balance": 0.25 * balance,
    }
    found = oracle.values(network.losses(batch, 0.0))
    assert found == pytest.approx(expected, rel=1e-4)

    with torch.no_grad():
        tables = network.tables()
    assert [term.term.name for term in tables.terms][3:5] == ["visual-4", "textual-1"]
    total = sum(term.gate[:, None] * term.vectors for term in tables.terms)
    np.testing.assert_allclose(total, items, atol=1e-5)


def test_top_softmax_golden() -> None:
    found = top_softmax(torch.tensor([[1.0, 3.0, 2.0]]), 2)
    np.testing.assert_allclose(found, [[0, 1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))]], rtol=1e-6)


def test_divergence_is_zero_for_even_use_only() -> None:
    assert float(from_uniform(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))) == pytest.approx(0, abs=1e-6)
    assert float(from_uniform(torch.tensor([[0.9, 0.1]]))) > 0


def test_negatives_are_warm_unless_asked_otherwise(material: Material) -> None:
    train = material.split.train
    allowed = MamexRecipe().allowed_negatives(material.split, CONFIG)
    assert allowed is not None
    np.testing.assert_array_equal(allowed, train.toarray().sum(axis=0) > 0)
    assert not allowed.all()
    assert MamexRecipe().allowed_negatives(material.split, MamexConfig(cold_negatives=True)) is None


def test_the_epoch_may_be_chosen_among_cold_items_where_the_split_holds_some_out(tmp_path: Path) -> None:
    dataset = tiny_dataset(n_users=90, n_items=200)
    split, recipe = split_dataset(dataset, "cold-items", seed=0), MamexRecipe()
    config = MamexConfig(embedding_size=4, max_epochs=2, chosen_among="cold")
    among = recipe.validated_among(split, config)
    np.testing.assert_array_equal(among, split.train.toarray().sum(axis=0) == 0)
    assert recipe.validated_among(split, MamexConfig()) is None
    assert recipe.validated_among(split_dataset(dataset, "random", seed=0), config) is None
    fitted = recipe.fit(dataset, split, config, Run(tmp_path))
    logged = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    best = max(logged, key=lambda entry: float(entry["valid/recall@20"]))
    found = evaluate(fitted.score_block, split, "valid").strata[AMONG_COLD].means()
    assert best["valid/recall@20"] == pytest.approx(found["recall@20"])
    assert best["valid/ndcg@20"] == pytest.approx(found["ndcg@20"])
