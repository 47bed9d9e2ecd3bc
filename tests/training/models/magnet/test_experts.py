"""The experts: what they start as, what is bounded, and that the split over modalities is exact.

Axes: `B` users, `C` candidates, `I` items, `E` experts, `M` modalities, `D` width.
"""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from training.models.magnet.experts import StructuredExperts
from training.models.magnet.roles import structured_experts

MODALITIES = ("behaviour", "visual", "textual", "acoustic")
B, C, D, W = 5, 7, 6, 3


def experts_for(count: int, *, scale: float = 0.1, trained: bool = False) -> StructuredExperts:
    generator = torch.Generator().manual_seed(count)
    experts = StructuredExperts(structured_experts(MODALITIES[:count]), D, W, scale, 0.0, generator)
    if trained:
        with torch.no_grad():
            for parameter in experts.parameters():
                parameter.copy_(3 * torch.randn(parameter.shape, generator=generator))
    return experts.eval()


def pairs(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Unit users (B, D), parts (C, M, D) of the same candidates for all, ridge maps (M, M, D, D)."""
    generator = torch.Generator().manual_seed(9)
    users = torch.nn.functional.normalize(torch.randn(B, D, generator=generator), dim=1)
    return users, torch.randn(C, count, D, generator=generator), torch.randn(count, count, D, D, generator=generator)


def scores_of(experts: StructuredExperts, users: Tensor, parts: Tensor, maps: Tensor) -> Tensor:
    """(B, C, E) through the module's own public functions."""
    part_scores = torch.einsum("bd,cmd->bcm", users, parts)
    predicted = torch.einsum("crd,rmde,be->bcrm", parts, maps, users)
    items = experts.item_residuals(parts)[None].expand(B, -1, -1, -1)
    scores: Tensor = experts(part_scores, predicted, experts.user_residuals(users), items)
    return scores


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_uniform_gates_over_the_dominant_experts_are_the_base(count: int) -> None:
    experts = experts_for(count)
    users, parts, maps = pairs(count)
    dominant = [row for row, role in enumerate(experts.roles) if role.role == "dominant"]
    mixture = scores_of(experts, users, parts, maps)[:, :, dominant].mean(dim=2)
    torch.testing.assert_close(mixture, users @ parts.sum(dim=1).T)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_scores_are_what_the_formula_says(count: int) -> None:
    """One pair after another, from the definition."""
    experts = experts_for(count, trained=True)
    users, parts, maps = pairs(count)
    found = scores_of(experts, users, parts, maps)
    for e, role in enumerate(experts.roles):
        for b in range(B):
            for c in range(C):
                read = parts[c] if role.removes is None else parts[c] - parts[c, role.removes] @ maps[role.removes]
                linear = sum(experts.mix[e, m] * (users[b] @ read[m]) for m in range(count))
                mixed = torch.stack([experts.mix[e, m] * parts[c, m] for m in range(count)]).sum(dim=0)
                user_side = experts.scale[e] * torch.tanh(users[b] @ experts.user_map[e])
                residual = user_side @ torch.tanh(mixed @ experts.item_map[e])
                torch.testing.assert_close(found[b, c, e], experts.gain[e] * linear + residual, rtol=1e-4, atol=1e-4)


def test_the_linear_term_splits_over_modalities_exactly() -> None:
    """Without the other modalities' parts, an expert that removes nothing says that modality's share and no more."""
    experts = experts_for(3, trained=True)
    users, parts, _ = pairs(3)
    kept = [row for row, role in enumerate(experts.roles) if role.removes is None]
    nothing = torch.zeros(B, C, 3, 3)
    part_scores = torch.einsum("bd,cmd->bcm", users, parts)
    alone = [experts.linear_scores(part_scores * (torch.arange(3) == m), nothing) for m in range(3)]
    whole = experts.linear_scores(part_scores, nothing)
    torch.testing.assert_close(sum(alone[1:], alone[0])[:, :, kept], whole[:, :, kept])


def test_whatever_is_fitted_mixes_gains_and_scales_stay_bounded() -> None:
    experts = experts_for(4, trained=True)
    with torch.no_grad():
        experts.scale_logit.fill_(50.0)
        experts.log_gain.fill_(50.0)
    torch.testing.assert_close(experts.mix.sum(dim=1), torch.ones(len(experts.roles)))
    assert float(experts.scale.detach().max()) <= 1 / W**0.5 + 1e-6  # so the residual is at most 1 · tanh · tanh
    assert float(experts.gain.detach().max()) <= 4 * torch.e**0.5 + 1e-4
    users, parts, maps = pairs(4)
    part_scores = torch.einsum("bd,cmd->bcm", users, parts)
    predicted = torch.einsum("crd,rmde,be->bcrm", parts, maps, users)
    residual = scores_of(experts, users, parts, maps) - experts.linear_scores(part_scores, predicted)
    assert float(residual.detach().abs().max()) <= W**0.5 + 1e-5  # W products of tanh over √W


def test_the_freedom_of_a_balanced_pair_is_tied_and_a_removed_modality_stays_out() -> None:
    experts = experts_for(3, trained=True)
    for row, role in enumerate(experts.roles):
        mix, template = experts.mix[row], experts.template[row]
        if role.tied:
            ratios = [float((mix[m] / template[m]).detach()) for m in role.tied]
            assert all(a == pytest.approx(b, rel=1e-5) for a, b in pairwise(ratios))
        if role.removes is not None:
            assert float(mix[role.removes].detach()) == 0


def test_a_zero_of_the_template_has_finite_gradients() -> None:
    experts = experts_for(3)
    users, parts, maps = pairs(3)
    scores_of(experts, users, parts, maps).square().sum().backward()  # type: ignore[no-untyped-call]
    for name, parameter in experts.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
