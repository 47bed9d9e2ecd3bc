"""The structured experts: which roles there are for one to four modalities, and what each starts from."""

import math

import pytest

from training.models.magnet.roles import free_experts, structured_experts

MODALITIES = ("behaviour", "visual", "textual", "acoustic")


def test_three_modalities_have_the_nine_experts_of_the_paper() -> None:
    experts = structured_experts(MODALITIES[:3])
    assert [expert.name for expert in experts] == [
        *("dominant-behaviour", "dominant-visual", "dominant-textual"),
        *("balanced-behaviour-visual", "balanced-behaviour-textual", "balanced-visual-textual"),
        *("complementary-behaviour", "complementary-visual", "complementary-textual"),
    ]
    assert experts[1].template == pytest.approx((0.15, 0.7, 0.15))
    assert experts[4].template == pytest.approx((0.45, 0.1, 0.45))
    assert experts[4].tied == (0, 2)
    assert experts[8].template == pytest.approx((0.5, 0.5, 0.0))
    assert experts[8].removes == 2


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_every_modality_leads_pairs_and_is_removed_once(count: int) -> None:
    experts = structured_experts(MODALITIES[:count])
    # M leads, every pair, M complements; a single modality has one expert and nothing to complement
    assert len(experts) == (1 if count == 1 else count + math.comb(count, 2) + count)
    assert len({expert.name for expert in experts}) == len(experts)
    for expert in experts:
        assert sum(expert.template) == pytest.approx(1)
        assert len(expert.template) == count
        assert (expert.removes is not None) == (expert.role == "complementary")
        assert (len(expert.tied) == 2) == (expert.role == "balanced")
        if expert.removes is not None:
            assert expert.template[expert.removes] == 0


def test_two_modalities_are_balanced_evenly() -> None:
    balanced = [expert.template for expert in structured_experts(MODALITIES[:2]) if expert.role == "balanced"]
    assert balanced == [(0.5, 0.5)]


def test_no_modality_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one modality"):
        structured_experts([])


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_free_experts_are_as_many_and_alike(count: int) -> None:
    free = free_experts(MODALITIES[:count])
    assert len(free) == len(structured_experts(MODALITIES[:count]))
    assert {expert.template for expert in free} == {(1 / count,) * count}
    assert len({expert.name for expert in free}) == len(free)
