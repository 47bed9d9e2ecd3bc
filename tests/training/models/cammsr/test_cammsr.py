"""CAMMSR: gated experts by hand, causality, order, what the losses see, and what the data must have."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support import vector_oracles as oracle
from tests.support.tiny_dataset import tiny_dataset
from training.data.splits import split_dataset
from training.errors import TrainingError
from training.models.cammsr.config import CammsrConfig
from training.models.cammsr.recipe import CammsrRecipe, SequencePhase
from training.models.embedding.material import Material
from training.models.protocol import MissingRequirement

CONFIG = CammsrConfig(embedding_size=4, heads=2, layers=1, history_cap=4, dropout=0.0, batch_size=5)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return oracle.tiny_material(tmp_path_factory.mktemp("run"))


@pytest.fixture
def network(material: Material) -> Any:
    return oracle.fresh(CammsrRecipe(), material, CONFIG)


def test_items_are_experts_gated_by_their_category(material: Material, network: Any) -> None:
    mixture, features = network.mixture, list(material.dataset.features.values())
    row = 2
    present = [True, *(bool(matrix.present[row]) for matrix in features)]
    singles = [oracle.dense(mixture.identity)[row]]
    for project, matrix in zip(mixture.projections, features, strict=True):
        x = matrix.values[row].astype(np.float64)
        singles.append(oracle.linear(project, x / max(np.linalg.norm(x), 1e-12)))
    pairs = [(0, 1), (0, 2), (1, 2)]
    experts = [
        *singles,
        *(oracle.linear(w, singles[a] * singles[b]) for (a, b), w in zip(pairs, mixture.synergies, strict=True)),
    ]
    able = np.array([*present, *(present[a] and present[b] for a, b in pairs)])
    category = oracle.linear(mixture.classifier, (singles[1] + singles[2]) / 2)
    guide = oracle.linear(mixture.query, oracle.softmax(category, 0) @ oracle.dense(mixture.categories))
    logits = np.array([oracle.linear(mixture.key, expert) @ guide / np.sqrt(4) for expert in experts])
    gates = oracle.softmax(np.where(able, logits, -1e9), 0)
    found = mixture(torch.tensor([row]))
    np.testing.assert_allclose(found.gates[0].detach(), gates, atol=1e-5)
    np.testing.assert_allclose(found.vectors[0].detach(), gates @ np.stack(experts), atol=1e-5)
    assert [term.name for term in mixture.terms] == [
        *("id", "visual", "textual", "synergy-behaviour-visual", "synergy-behaviour-textual", "synergy-visual-textual")
    ]


def test_swapping_gives_each_modality_the_others_content(network: Any) -> None:
    rows = torch.tensor([0, 3])
    plain, swapped = network.mixture(rows), network.mixture(rows, swapped=True)
    torch.testing.assert_close(swapped.experts[:, 1], plain.experts[:, 2])
    torch.testing.assert_close(swapped.experts[:, 2], plain.experts[:, 1])
    torch.testing.assert_close(swapped.experts[:, 0], plain.experts[:, 0])


def test_a_user_is_the_last_position_and_nothing_looks_ahead(material: Material, network: Any) -> None:
    indptr, history = material.split.history()
    with torch.no_grad():
        vectors = network()
        user = int(np.argmax(np.diff(indptr)))
        rows = torch.from_numpy(history[indptr[user] : indptr[user + 1]][-4:].astype(np.int64))
        alone = network.encode(vectors.items[rows][None])[0]
        torch.testing.assert_close(vectors.users[user], alone[-1])
        shorter = network.encode(vectors.items[rows[:-1]][None])[0]
        torch.testing.assert_close(alone[:-1], shorter)
        backwards = network.encode(vectors.items[rows.flip(0)][None])[0]
        assert not torch.allclose(alone[-1], backwards[-1])


def test_losses_count_real_positions_only(material: Material, network: Any) -> None:
    phase = SequencePhase("cammsr", network, CONFIG, material)
    rows = torch.tensor([[1, 2, 3, 4], [5, 1, 0, 0]])
    lengths, swaps = torch.tensor([4, 2]), torch.zeros(2, 3, dtype=torch.bool)
    found = oracle.values(phase.sequence_losses(rows, lengths, swaps))
    items = network.mixture(torch.arange(material.dataset.n_items))
    with torch.no_grad():
        expected = []
        for sequence in ([1, 2, 3, 4], [5, 1]):
            encoded = network.encode(items.vectors[sequence[:-1]][None])[0]
            for place, target in enumerate(sequence[1:]):
                logits = (encoded[place] @ items.vectors.T).numpy().astype(np.float64)
                expected.append(-np.log(oracle.softmax(logits, 0)[target]))
        here = [1, 2, 3, 5]
        chances = oracle.sigmoid(oracle.dense(items.category_logits[here]))
        labels = network.labels[here].numpy()
        category = -(labels * np.log(chances) + (1 - labels) * np.log(1 - chances)).mean()
    assert found["next"] == pytest.approx(np.mean(expected), rel=1e-4)
    assert found["category"] == pytest.approx(CONFIG.category * category, rel=1e-4)
    padded = torch.tensor([[1, 2, 3, 4], [5, 1, 3, 2]])
    again = oracle.values(phase.sequence_losses(padded, lengths, swaps))
    assert again["next"] == pytest.approx(found["next"], rel=1e-5)
    other = oracle.values(phase.sequence_losses(rows, lengths, torch.ones(2, 3, dtype=torch.bool)))
    assert other["contrast"] != pytest.approx(found["contrast"], rel=1e-4)


def test_long_histories_are_learned_from_in_stretches(material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last five items alone would leave most of what people did unread."""
    dataset = tiny_dataset()
    longer = replace(material, dataset=dataset, split=split_dataset(dataset, "random", seed=0))
    network: Any = oracle.fresh(CammsrRecipe(), longer, CONFIG)
    indptr, history = longer.split.history()
    user = int(np.argmax(np.diff(indptr)))
    own = history[indptr[user] : indptr[user + 1]].tolist()
    stretches = {tuple(own[at : at + 5]) for at in range(len(own) - 4)}
    assert len(stretches) > 2
    read: set[tuple[int, ...]] = set()
    phase = SequencePhase("cammsr", network, CONFIG, longer)

    def note(rows: torch.Tensor, *_: torch.Tensor) -> dict[str, torch.Tensor]:
        read.update(map(tuple, rows.tolist()))
        return {}

    monkeypatch.setattr(phase, "sequence_losses", note)
    for step in range(40 * phase.steps_per_epoch):
        phase.losses(step, np.random.default_rng(step))
    assert stretches <= read


def test_order_of_a_history_matters_to_the_model(material: Material) -> None:
    split = material.split
    assert split.train_order is not None
    reverse = replace(split, train_order=split.train_order.max() - split.train_order)
    ours, theirs = (
        oracle.fresh(CammsrRecipe(), replace(material, split=one), CONFIG)().users for one in (split, reverse)
    )
    assert not torch.allclose(ours, theirs)


def test_what_the_data_lack_is_said_before_training() -> None:
    dataset = tiny_dataset()
    timeless = replace(dataset, interactions=replace(dataset.interactions, timestamp=None))
    with pytest.raises(MissingRequirement, match="timestamps"):
        CammsrRecipe().check(timeless)
    unsorted = replace(dataset, items=replace(dataset.items, categories=[()] * dataset.n_items))
    with pytest.raises(MissingRequirement, match="categories"):
        CammsrRecipe().check(unsorted)


def test_histories_of_one_item_teach_nothing(material: Material, tmp_path: Path) -> None:
    first = material.split.train.copy()
    first.data[:] = 0
    first.eliminate_zeros()
    alone = replace(material, split=replace(material.split, train=first, train_order=np.zeros(0, np.int64)))
    network = oracle.fresh(CammsrRecipe(), alone, CONFIG)
    with pytest.raises(TrainingError, match="at least two"):
        SequencePhase("cammsr", network, CONFIG, alone)
