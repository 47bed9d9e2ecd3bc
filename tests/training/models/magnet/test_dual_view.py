"""The base against a dense oracle: two views, fusion, exact parts, the form of new items, and the loss.

Axes: `U` users, `I` items, `D` width; tables are (I, 2D), history side first.
"""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import sparse

from tests.support.tiny_dataset import tiny_dataset
from training.data.dataset import Dataset
from training.data.splits import split_dataset
from training.graph.content import centred_unit_rows, content_knn
from training.graph.pseudo_edges import pseudo_edges
from training.models.magnet import dual_view
from training.models.magnet.config import BaseConfig, GraphConfig
from training.models.magnet.dual_view import ALIGNED_ITEMS, DualViewBase, Graphs, compared_items
from training.models.magnet.frozen import freeze
from training.models.magnet.tensor_names import tensor_name

D = 4
F64 = NDArray[np.float64]
CPU = torch.device("cpu")


def base_of(
    modalities: tuple[str, ...] = ("visual", "textual"), *, width: int = D, **graph: Any
) -> tuple[DualViewBase, Dataset, sparse.csr_array]:
    """A base whose parameters, fusion and new-item form included, are all random."""
    dataset = tiny_dataset(modalities)
    train = split_dataset(dataset, "random", seed=0).train
    config = GraphConfig(neighbours=4, **graph)
    content = {name: content_knn(matrix.values, matrix.present, k=4) for name, matrix in dataset.features.items()}
    generator = torch.Generator().manual_seed(5)
    base = BaseConfig(embedding_size=width, negatives=8, temperature=0.5, id_std=1.0)
    module = DualViewBase(Graphs(train, content, config, CPU), dataset.features, config, base, generator)
    with torch.no_grad():
        for parameter in (module.fusion, module.new_item):
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return module, dataset, train


def normalised(matrix: F64) -> F64:
    """`D_row^-1/2 A D_col^-1/2`."""
    rows, columns = (np.maximum(matrix.sum(axis=axis, keepdims=True), 1e-300) for axis in (1, 0))
    result: F64 = matrix / np.sqrt(rows) / np.sqrt(columns)
    return result


class Oracle:
    """The same base, dense, in float64, from its equations."""

    def __init__(self, module: DualViewBase, dataset: Dataset, train: sparse.csr_array, graph: GraphConfig) -> None:
        self.R = train.toarray().astype(np.float64)
        self.degree = self.R.sum(axis=0)
        self.cold = self.degree == 0
        graphs = [content_knn(f.values, f.present, k=4).toarray() for f in dataset.features.values()]
        self.S = sum(graphs, np.zeros((len(self.cold),) * 2)) / max(len(graphs), 1)
        self.rho = graph.rho if graphs else 0.0
        hop = normalised(self.R).T @ normalised(self.R)
        if graph.edges == "pseudo":
            pseudo = pseudo_edges(train, sparse.csr_array(self.S.astype(np.float32)), per_user=3, per_tail_item=2)
            both = normalised(self.R + self.rho * pseudo.toarray())
            other = both.T @ both
        else:
            other = (1 - self.rho) * hop + self.rho * self.S
        self.views = [sum(np.linalg.matrix_power(h, step) for step in range(3)) / 3 for h in (hop, other)]
        self.identity = module.identity.detach().numpy().astype(np.float64)
        self.content = {
            name: centred_unit_rows(f.values, f.present)[0].astype(np.float64)
            @ module.content_projection(name).detach().numpy()
            for name, f in dataset.features.items()
        }
        self.fusion = module.fusion.detach().numpy().astype(np.float64)
        self.new_item = module.new_item.detach().numpy().astype(np.float64)

    def tables(self, new: NDArray[np.bool_] | None = None) -> tuple[F64, F64]:
        """(I, D) history and candidate table; items in `new`, and cold ones, in the form of a new item."""
        new = self.cold if new is None else self.cold | new
        own: F64 = np.sum(list(self.content.values()), axis=0) if self.content else np.zeros_like(self.identity)
        x = np.where(self.cold[:, None], 0, self.identity) + own
        original, augmented = (view @ x for view in self.views)
        fused = []
        for side in (0, 1):
            half, weight = slice(side * D, side * D + D), self.fusion[side]
            inner = original[:, half] @ weight[:D] + augmented[:, half] @ weight[D : 2 * D]
            gate = 1 / (1 + np.exp(-(inner + np.log1p(self.degree) * weight[2 * D])))[:, None]
            fused.append(gate * original[:, half] + (1 - gate) * augmented[:, half])
        served = [fused[0].copy(), fused[1] / np.maximum(np.linalg.norm(fused[1], axis=1, keepdims=True), 1e-12)]
        for item in np.flatnonzero(new):
            near = self.S[item] * ~self.cold
            near = near / near.sum() if near.sum() else near
            for side in (0, 1):
                half = slice(side * D, side * D + D)
                neighbours = near @ served[side]
                fused[side][item] = self.new_item[0, side] * own[item, half] + self.new_item[1, side] * neighbours
        return fused[0], fused[1]


FORMS = [
    GraphConfig(neighbours=4),
    GraphConfig(neighbours=4, rho=0),
    GraphConfig(neighbours=4, edges="pseudo", pseudo_per_user=3, pseudo_per_tail_item=2),
]


@pytest.mark.parametrize("graph", FORMS, ids=["item-item", "rho 0", "pseudo"])
@pytest.mark.parametrize("modalities", [(), ("visual",), ("visual", "textual")], ids=len)
def test_tables_are_those_of_the_dense_oracle(graph: GraphConfig, modalities: tuple[str, ...]) -> None:
    module, dataset, train = base_of(modalities, **graph.model_dump(exclude={"neighbours"}))
    oracle = Oracle(module, dataset, train, graph)
    dropped = np.random.default_rng(2).random(train.shape[1]) < 0.3
    for new in (None, dropped):
        views = module(None if new is None else torch.from_numpy(new))
        history, candidate = oracle.tables(new)
        np.testing.assert_allclose(views.history.detach(), history, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(views.candidate.detach(), candidate, rtol=1e-4, atol=1e-5)


def test_wide_features_are_read_by_their_leading_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is as if a projection of all of their width had been fitted, one of that rank."""
    monkeypatch.setattr(dual_view, "MOST_DIRECTIONS", 3)
    module, dataset, train = base_of()
    oracle = Oracle(module, dataset, train, FORMS[0])
    for name, matrix in dataset.features.items():
        assert module.projection[tensor_name("to", name)].shape == (3, 2 * D)
        assert module.content_projection(name).shape == (matrix.values.shape[1], 2 * D)
    for found, expected in zip((module().history, module().candidate), oracle.tables(), strict=True):
        np.testing.assert_allclose(found.detach(), expected, rtol=1e-4, atol=1e-5)
    width = {name: matrix.values.shape[1] for name, matrix in dataset.features.items()}
    form = freeze(module).new_item
    assert {name: len(weight) for name, weight in form.projections.items()} == width


def test_wide_features_follow_the_directions_of_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that another machine finds may have other signs, or turn where two hold equally much."""
    monkeypatch.setattr(dual_view, "MOST_DIRECTIONS", 3)
    here, there = base_of()[0], base_of()[0]
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1))).Q
    with torch.no_grad():
        for name in there.content_names:
            for tensor in (
                there.get_buffer(tensor_name("directions", name)),
                there.get_buffer(tensor_name("features", name)),
            ):
                tensor.copy_(tensor @ turn)
    here.load_state_dict(there.state_dict())
    for name in here.content_names:
        torch.testing.assert_close(
            here.get_buffer(tensor_name("features", name)), there.get_buffer(tensor_name("features", name))
        )
    torch.testing.assert_close(here().candidate, there().candidate)


@pytest.mark.parametrize("graph", FORMS, ids=["item-item", "rho 0", "pseudo"])
def test_parts_sum_to_the_candidate(graph: GraphConfig) -> None:
    module, _, train = base_of(**graph.model_dump(exclude={"neighbours"}))
    parts = module.candidate_parts()
    assert parts.shape == (train.shape[1], 3, D)
    torch.testing.assert_close(parts.sum(dim=1), module().candidate.detach(), rtol=1e-5, atol=1e-5)
    # a cold item has no identity: what behaviour says of it comes from its warm neighbours alone
    lonely = torch.from_numpy(np.asarray(module.graphs.warm_neighbours.graph.sum(axis=1)).ravel() == 0)
    assert bool((parts[lonely & module.cold, 0] == 0).all())
    assert bool((parts[~module.cold].abs().sum(dim=2) > 0).any(dim=0).all())


def test_without_content_edges_the_views_are_equal_and_with_them_not() -> None:
    for rho, equal in ((0.0, True), (0.5, False)):
        module, _, _ = base_of(rho=rho)
        views = module()
        assert torch.equal(views.original, views.augmented) == equal


def test_pseudo_edges_reach_the_augmented_view_and_are_no_positives() -> None:
    module, _, train = base_of(edges="pseudo")
    assert module.graphs.augmented is not None
    joined = module.graphs.augmented[0].forward_graph
    assert int((joined.weights > 0).sum()) > train.nnz
    assert module.graphs.train.nnz == train.nnz
    users = module.graphs.history(np.arange(train.shape[0]), torch.ones(train.shape[1], 1))[:, 0]
    np.testing.assert_array_equal(users.numpy(), np.diff(train.indptr))  # a history is what was taken, and that alone


def test_cold_items_have_no_identity_anywhere() -> None:
    module, _, _ = base_of()
    assert bool(module.cold.any())
    before = module()
    with torch.no_grad():
        module.identity[module.cold] += 100.0
    after = module()
    torch.testing.assert_close(after.history, before.history)
    torch.testing.assert_close(after.candidate, before.candidate)


def test_the_loss_leaves_the_positive_out_of_the_users_sum_and_masks_own_negatives() -> None:
    module, dataset, train = base_of(("visual",), rho=0)
    history, candidate = Oracle(module, dataset, train, GraphConfig(neighbours=4, rho=0)).tables()
    unit = candidate / np.linalg.norm(candidate, axis=1, keepdims=True)
    owners = np.repeat(np.arange(train.shape[0]), np.diff(train.indptr))
    users, items = owners[:50:7], train.indices[:50:7]
    negatives = np.arange(0, train.shape[1], 3)
    expected = []
    for user, item in zip(users, items, strict=True):
        taken = set(train.indices[train.indptr[user] : train.indptr[user + 1]])
        total = np.sum([history[other] for other in taken - {item}], axis=0)
        total = total / np.linalg.norm(total)
        scores = [total @ unit[item] / 0.5]
        scores += [total @ unit[other] / 0.5 for other in negatives if other not in taken]
        expected.append(np.log(np.sum(np.exp(scores))) - scores[0])
    found = module.losses(
        torch.from_numpy(users),
        torch.from_numpy(items.astype(np.int64)),
        torch.from_numpy(negatives),
        torch.from_numpy(train[users][:, negatives].toarray() > 0),
        None,
    )
    assert found.keys() == {"softmax"}  # two equal views have nothing to be aligned
    assert float(found["softmax"].detach()) == pytest.approx(np.mean(expected), rel=1e-4)


def test_histories_of_one_item_teach_nothing_and_disturb_nothing() -> None:
    """The positive left out, nothing is left of them: a direction of rounding errors, which gradients blow up."""
    _, _, train = base_of(())
    lone = np.arange(0, train.shape[0], 3)
    thinned = train.toarray()
    thinned[lone] *= np.cumsum(thinned[lone] > 0, axis=1) == 1
    graph = GraphConfig(rho=0)
    graphs = Graphs(sparse.csr_array(thinned), {}, graph, CPU)
    owners, items = (torch.from_numpy(rows) for rows in np.nonzero(thinned))

    def gradient(chosen: NDArray[np.bool_]) -> torch.Tensor:
        config = BaseConfig(embedding_size=D, id_std=1.0)
        module = DualViewBase(graphs, {}, graph, config, torch.Generator().manual_seed(2))
        users, negatives = owners[chosen], torch.arange(0, train.shape[1], 2)
        own = torch.from_numpy(thinned[users.numpy()][:, negatives.numpy()] > 0)
        loss = module.losses(users, items[chosen], negatives, own, None)["softmax"] * int(chosen.sum())
        loss.backward()  # type: ignore[no-untyped-call]
        assert module.identity.grad is not None
        return module.identity.grad

    others = ~np.isin(owners.numpy(), lone)
    torch.testing.assert_close(gradient(np.ones(len(owners), bool)), gradient(others), rtol=1e-4, atol=1e-4)


def test_the_views_are_aligned_by_infonce() -> None:
    module, _, train = base_of()
    items = torch.from_numpy(train.indices[:6].astype(np.int64))
    users = torch.zeros(6, dtype=torch.int64)
    own = torch.zeros(6, 2, dtype=torch.bool)
    found = module.losses(users, items, torch.tensor([0, 1]), own, None)["alignment"]
    views = module()
    rows = np.unique(items.numpy())
    first, second = (
        (side[rows, D:] / side[rows, D:].norm(dim=1, keepdim=True)).detach().numpy().astype(np.float64)
        for side in (views.original, views.augmented)
    )
    logits = first @ second.T / 0.5
    expected = np.mean([np.log(np.exp(row).sum()) - row[place] for place, row in enumerate(logits)])
    assert float(found.detach()) == pytest.approx(module.config.view_alignment * expected, rel=1e-4)


def test_any_item_of_a_large_batch_may_be_compared() -> None:
    """Not those with the lowest rows alone: 1,024 of 1,500, so each in two draws of three (±5 deviations)."""
    torch.manual_seed(0)
    batch = torch.randint(1500, (12_000,))
    chosen = torch.zeros(1500)
    for _ in range(100):
        rows = compared_items(batch)
        assert len(torch.unique(rows)) == len(rows) == ALIGNED_ITEMS
        chosen[rows] += 1
    assert 44 < float(chosen.min()) <= float(chosen.max()) < 93


def test_every_parameter_gets_a_finite_gradient() -> None:
    module, _, train = base_of()
    generator = torch.Generator().manual_seed(0)
    dropped = torch.rand(train.shape[1], generator=generator) < 0.3
    users = torch.from_numpy(np.repeat(np.arange(train.shape[0]), np.diff(train.indptr))[:40])
    items = torch.from_numpy(train.indices[:40].astype(np.int64))
    negatives = torch.arange(20)
    own = torch.from_numpy(train[users.numpy()][:, :20].toarray() > 0)
    losses = module.losses(users, items, negatives, own, dropped)
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
        assert float(parameter.grad.abs().sum()) > 0, name


def test_a_continued_base_starts_from_the_other_without_what_that_never_showed() -> None:
    module, _, _ = base_of()
    other, _, _ = base_of()
    assert bool(other.cold.any())
    module.start_from(other)
    assert not bool(module.identity[other.cold].any())
    torch.testing.assert_close(module.identity[~other.cold], other.identity[~other.cold])
