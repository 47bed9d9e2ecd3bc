"""The router: sparse gates that sum to one, and its statistics.

Axes: `B` users, `C` candidates, `E` experts, `M` modalities.
"""

import math

import pytest
import torch

from training.models.magnet.node_features import OF_DEGREE
from training.models.magnet.roles import structured_experts
from training.models.magnet.router import PairRouter, Routing, statistics

B, C, M = 4, 6, 3
ROLES = structured_experts(("behaviour", "visual", "textual"))
E = len(ROLES)


def router_with(top_k: int) -> PairRouter:
    generator = torch.Generator().manual_seed(top_k)
    features = torch.randn(10, 5, generator=generator), torch.randn(12, 8, generator=generator)
    router = PairRouter(*features, torch.zeros(E), n_modalities=M, hidden=4, top_k=top_k, generator=generator)
    with torch.no_grad():
        router.pair_weights.copy_(torch.randn(E, M, generator=generator))
    return router


def route(router: PairRouter) -> Routing:
    generator = torch.Generator().manual_seed(1)
    users = router.user(torch.randn(B, 5, generator=generator))
    items = router.item(torch.randn(C, 8, generator=generator))
    cues = torch.rand(B, C, M, generator=generator) * 2 - 1
    routing: Routing = router(users, items[None], cues)
    return routing


@pytest.mark.parametrize("top_k", [1, 2, 3, E])
def test_gates_keep_the_top_k_and_sum_to_one(top_k: int) -> None:
    routing = route(router_with(top_k))
    torch.testing.assert_close(routing.gates.sum(dim=2), torch.ones(B, C))
    torch.testing.assert_close(routing.probabilities.sum(dim=2), torch.ones(B, C))
    for pair, gates in zip(routing.probabilities.reshape(-1, E), routing.gates.reshape(-1, E), strict=True):
        kept = torch.argsort(pair, descending=True)[:top_k]
        expected = torch.zeros(E).scatter(0, kept, pair[kept] / pair[kept].sum())
        torch.testing.assert_close(gates, expected)


def test_top_k_is_at_most_the_number_of_experts() -> None:
    assert router_with(100).top_k == E


def test_what_hardly_varies_is_not_blown_up() -> None:
    features = torch.ones(1000, 1)
    features[0] = 0  # one item in a thousand has no picture
    router = PairRouter(
        features, features, torch.zeros(E), n_modalities=M, hidden=4, top_k=2, generator=torch.Generator()
    )
    seen = (features - router.item.mean) / router.item.scale
    assert float(seen.abs().max()) <= 5


@pytest.mark.parametrize("top_k", [2, E])
def test_gradients_stay_finite_where_a_probability_is_zero(top_k: int) -> None:
    router = router_with(top_k)
    with torch.no_grad():
        router.item.b2[0] = -1e6
    routing = route(router)
    assert float(routing.probabilities.detach()[..., 0].max()) == 0
    figures = statistics(routing.probabilities)
    loss = routing.gates.square().sum() + figures.load_entropy + figures.pair_entropy
    loss.backward()  # type: ignore[no-untyped-call]
    for name, parameter in router.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name


@pytest.mark.parametrize(
    ("reads", "users", "pairs"),
    [("pair", True, True), ("user", True, False), ("item", False, True), ("nothing", False, False)],
)
def test_controls_ignore_what_they_do_not_read(reads: str, users: bool, pairs: bool) -> None:
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(10, 5, generator=generator), torch.randn(C, 8, generator=generator)
    router = PairRouter(*features, torch.zeros(E), n_modalities=M, hidden=4, reads=reads, top_k=E, generator=generator)
    optimiser = torch.optim.AdamW(router.parameters(), lr=0.1)
    cues = torch.rand(B, C, M, generator=generator)
    for _ in range(5):
        routing = router(router.user(features[0][:B]), router.item(features[1])[None], cues)
        optimiser.zero_grad()
        (routing.gates * torch.randn(B, C, E, generator=generator)).sum().backward()
        optimiser.step()
    gates = router(router.user(features[0][:B]), router.item(features[1])[None], cues).gates.detach()
    assert (float((gates - gates[:1]).abs().max()) > 1e-3) == users
    assert (float((gates - gates[:, :1]).abs().max()) > 1e-3) == pairs
    assert float((gates - 1 / E).abs().max()) > 1e-3  # a learned constant is left


@pytest.mark.parametrize(("reads", "seen"), [("pair", False), ("item", True)])
def test_which_modalities_an_item_has_is_the_controls_business(reads: str, seen: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    users, items = torch.randn(10, 5, generator=generator), torch.randn(C, OF_DEGREE + M - 1, generator=generator)
    router = PairRouter(
        users, items, torch.zeros(E), n_modalities=M, hidden=4, reads=reads, top_k=E, generator=generator
    )
    router.item.w2.data.normal_(generator=generator)
    masked, rarer = items.clone(), items.clone()
    masked[:, -1] -= 1
    rarer[:, 0] -= 1
    before = router.item(items)
    assert bool((router.item(masked) != before).any()) == seen
    assert bool((router.item(rarer) != before).any())


def test_statistics_golden() -> None:
    sure, torn = [1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]
    figures = statistics(torch.tensor([[sure, torn]]))
    # load: the mean of both pairs is (3/4, 1/4, 0, 0)
    load_entropy = (3 / 4 * math.log(4 / 3) + 1 / 4 * math.log(4)) / math.log(4)
    assert float(figures.load_entropy) == pytest.approx(load_entropy, rel=1e-5)
    # per pair: 0 for the sure one, log 2 for the torn one
    assert float(figures.pair_entropy) == pytest.approx((0 + math.log(2)) / 2 / math.log(4), rel=1e-5)
    assert figures.load.tolist() == pytest.approx([3 / 4, 1 / 4, 0, 0])
    assert figures.effective_experts == pytest.approx(4**load_entropy, rel=1e-5)
    assert figures.relative_min_load == 0


def test_statistics_at_the_ends() -> None:
    even = statistics(torch.full((2, 3, 5), 1 / 5))
    assert float(even.load_entropy) == pytest.approx(1)
    assert float(even.pair_entropy) == pytest.approx(1)
    assert even.effective_experts == pytest.approx(5)
    assert even.relative_min_load == pytest.approx(5 * 1 / 5)
    specialised = statistics(torch.eye(5)[None])  # every pair sure, every expert used by one of them
    assert float(specialised.load_entropy) == pytest.approx(1)
    assert float(specialised.pair_entropy) == pytest.approx(0, abs=1e-6)
    alone = statistics(torch.ones(2, 3, 1))  # a single expert has nothing to decide
    assert (float(alone.load_entropy), float(alone.pair_entropy)) == (1, 0)


def test_the_decision_is_returned_not_kept() -> None:
    router = router_with(2)
    before = set(vars(router))
    route(router)
    assert set(vars(router)) == before
