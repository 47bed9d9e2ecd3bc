"""The entropy schedule: when it switches, what it presses for, and that a checkpoint carries it."""

import pytest
import torch
from pydantic import ValidationError

from training.models.magnet.config import EntropyConfig, MagnetConfig, RouterConfig
from training.models.magnet.entropy import EntropySchedule
from training.models.magnet.router import RoutingStatistics

CONFIG = EntropyConfig(
    coverage=0.5, specialisation=0.2, load_threshold=0.9, plateau=0.01, window=4, min_steps=6, max_share=0.5, ramp=10,
    load_floor=0.6, pair_floor=0.3, decay=0.5,
)  # fmt: skip
EVEN = torch.full((4,), 0.25)


def figures(load_entropy: float, pair_entropy: float, load: torch.Tensor = EVEN) -> RoutingStatistics:
    return RoutingStatistics(torch.tensor(load_entropy), torch.tensor(pair_entropy), load)


def observed(schedule: EntropySchedule, count: int, load_entropy: float, pair_entropy: float) -> None:
    for _ in range(count):
        schedule.observe(figures(load_entropy, pair_entropy))


def test_switches_when_the_load_is_even_and_the_hesitation_has_settled() -> None:
    schedule = EntropySchedule(CONFIG, total_steps=100)
    observed(schedule, CONFIG.min_steps - 1, 0.95, 0.8)
    assert not schedule.second_stage  # even and settled since step 5, but not before the minimum
    observed(schedule, 1, 0.95, 0.8)
    assert schedule.second_stage
    assert int(schedule.switch_step) == CONFIG.min_steps
    observed(schedule, 3, 0.1, 0.1)
    assert int(schedule.switch_step) == CONFIG.min_steps  # one way


def test_an_uneven_load_or_a_moving_hesitation_waits_for_the_cap() -> None:
    uneven = EntropySchedule(CONFIG, total_steps=40)
    observed(uneven, 19, 0.89, 0.8)
    assert not uneven.second_stage
    observed(uneven, 1, 0.89, 0.8)
    assert int(uneven.switch_step) == 20  # .5 · 40 steps
    moving = EntropySchedule(CONFIG, total_steps=40)
    for step in range(19):
        moving.observe(figures(0.95, 1 - 0.02 * step))
    assert not moving.second_stage
    moving.observe(figures(0.95, 0.6))
    assert moving.second_stage


def test_the_averages_start_at_the_first_observation() -> None:
    schedule = EntropySchedule(CONFIG, total_steps=100)
    schedule.observe(figures(0.8, 0.6))
    assert float(schedule.load_average) == pytest.approx(0.8)
    assert float(schedule.pair_average) == pytest.approx(0.6)
    schedule.observe(figures(0.4, 0.2))
    assert float(schedule.load_average) == pytest.approx(0.5 * 0.8 + 0.5 * 0.4)
    assert float(schedule.pair_average) == pytest.approx(0.5 * 0.6 + 0.5 * 0.2)


def test_the_first_stage_presses_for_coverage_only() -> None:
    schedule = EntropySchedule(CONFIG, total_steps=100)
    pressure = schedule.pressure(figures(0.7, 0.9))
    assert pressure.keys() == {"coverage"}
    assert float(pressure["coverage"]) == pytest.approx(0.5 * (1 - 0.7))


def test_the_second_stage_ramps_the_pressure_on_hesitation_down_to_its_floor() -> None:
    schedule = EntropySchedule(CONFIG, total_steps=100)
    observed(schedule, 6, 0.95, 0.8)
    assert not schedule.ramped
    observed(schedule, 4, 0.95, 0.8)
    pressure = schedule.pressure(figures(0.95, 0.8))
    assert float(pressure["specialisation"]) == pytest.approx(4 / 10 * 0.2 * (0.8 - 0.3))
    assert float(pressure["coverage"]) == 0
    observed(schedule, 20, 0.95, 0.8)
    assert schedule.ramped
    assert float(schedule.pressure(figures(0.95, 0.8))["specialisation"]) == pytest.approx(0.2 * (0.8 - 0.3))
    assert float(schedule.pressure(figures(0.95, 0.25))["specialisation"]) == 0


def test_coverage_returns_when_an_expert_falls_out_of_use_or_the_load_below_its_floor() -> None:
    schedule = EntropySchedule(CONFIG, total_steps=100)
    observed(schedule, 30, 0.95, 0.8)
    hardly_used = torch.tensor([0.24 / 4, 0.4, 0.4, 0.14])  # below a quarter of 1/E
    assert float(schedule.pressure(figures(0.9, 0.8, hardly_used))["coverage"]) == pytest.approx(0.5 * (1 - 0.9))
    just_used = torch.tensor([0.26 / 4, 0.4, 0.4, 0.135])
    assert float(schedule.pressure(figures(0.9, 0.8, just_used))["coverage"]) == 0
    observed(schedule, 30, 0.5, 0.8)
    assert float(schedule.pressure(figures(0.5, 0.8))["coverage"]) == pytest.approx(0.5 * (1 - 0.5))


def test_the_pressure_is_differentiable_and_the_averages_are_not() -> None:
    schedule = EntropySchedule(CONFIG, total_steps=100)
    logits = torch.zeros(4, requires_grad=True)
    load = torch.softmax(logits, dim=0)
    now = RoutingStatistics(load[0], load[1], load)
    schedule.observe(now)
    assert not schedule.load_average.requires_grad
    sum(schedule.pressure(now).values(), torch.zeros(())).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None


def test_a_checkpoint_carries_stage_and_averages() -> None:
    schedule = EntropySchedule(CONFIG, total_steps=100)
    observed(schedule, 9, 0.95, 0.8)
    copy = EntropySchedule(CONFIG, total_steps=100)
    copy.load_state_dict(schedule.state_dict())
    for one in (schedule, copy):
        observed(one, 4, 0.93, 0.7)
    assert schedule.state_dict().keys() == {"switch_step", "steps", "load_average", "pair_average", "window"}
    for name, value in schedule.state_dict().items():
        torch.testing.assert_close(copy.state_dict()[name], value, rtol=0, atol=0)
    assert copy.second_stage


def test_steps_that_end_before_the_second_stage_has_ramped_are_refused() -> None:
    """Else no state could be chosen, and experts would be served that never specialised."""
    entropy = EntropyConfig(min_steps=40, max_share=0.5, ramp=60)
    schedule = EntropySchedule(entropy, total_steps=120)
    observed(schedule, 120, 0.5, 0.5)
    assert schedule.ramped
    MagnetConfig(router=RouterConfig(steps=120), entropy=entropy)
    for steps, begins in ((118, 59), (90, 45), (50, 40)):
        with pytest.raises(ValidationError, match=rf"= {steps}, but it may begin as late as step {begins}"):
            MagnetConfig(router=RouterConfig(steps=steps), entropy=entropy)
