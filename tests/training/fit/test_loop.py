"""The training loop: steps against an oracle, determinism, early stopping, resume, and stops that lose nothing."""

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.quadratic import REG, TARGET, Quadratic
from training.errors import TrainingError
from training.fit.averages import Averages
from training.fit.loop import Interrupted, NotANumber, Outcome, run_phase
from training.fit.run import Run


def fitted(phase: Quadratic, run: Run, *, max_steps: int = 40, evaluate_every: int | None = 5) -> Outcome:
    return run_phase(phase, run, max_steps=max_steps, evaluate_every=evaluate_every, patience=100)


def batch(seed: int, step: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng([seed, step]).normal(size=(8, 2)).astype(np.float32)).double()


def test_two_steps_are_those_of_a_hand_written_optimiser(tmp_path: Path) -> None:
    """SGD with momentum, whose second step shows gradients that were not cleared and momentum that was lost."""
    phase = Quadratic(optimiser=lambda module: torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9))
    fitted(phase, Run(tmp_path, seed=7), max_steps=2, evaluate_every=None)
    w, velocity = torch.tensor([0.5, 0.25]).double(), torch.zeros(2).double()
    for step in (0, 1):
        x = batch(7, step)
        gradient = 2 * x.T @ (x @ w - x @ TARGET.double()) / len(x) + 2 * REG * w
        velocity = 0.9 * velocity + gradient
        w = w - 0.1 * velocity
    torch.testing.assert_close(phase.module.w.detach().double(), w, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("noise", [False, True])
def test_the_seed_decides_everything(noise: bool, tmp_path: Path) -> None:
    weights = []
    for place, seed in enumerate((3, 3, 4)):
        torch.manual_seed(place)  # whatever was drawn before must not matter
        torch.rand(place + 1)
        phase = Quadratic(noise=noise)
        fitted(phase, Run(tmp_path / str(place), seed=seed))
        weights.append(phase.module.w.detach())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_best_state_is_kept_and_patience_ends_the_phase(tmp_path: Path) -> None:
    seen: list[torch.Tensor] = []

    def recall(validation: int) -> float:
        seen.append(phase.module.w.detach().clone())
        return [0.1, 0.3, 0.2, 0.3, 0.25, 0.9][validation - 1]

    phase = Quadratic(recall=recall)
    outcome = run_phase(phase, Run(tmp_path), max_steps=100, evaluate_every=5, patience=3)
    assert (outcome.best_step, outcome.steps) == (10, 25)  # three validations after the second brought nothing
    assert outcome.best == {"recall@20": 0.3}
    assert outcome.epochs == 25 / 4
    assert torch.equal(phase.module.w.detach(), seen[1])


def test_without_validation_the_last_state_is_the_best(tmp_path: Path) -> None:
    phase = Quadratic()
    outcome = fitted(phase, Run(tmp_path), max_steps=13, evaluate_every=None)
    assert (outcome.best_step, outcome.steps) == (13, 13)
    assert phase.validations == 0


def test_the_last_step_is_validated_too(tmp_path: Path) -> None:
    phase = Quadratic()
    assert fitted(phase, Run(tmp_path), max_steps=13, evaluate_every=5).best_step == 13
    assert phase.validations == 3


def test_nothing_is_selected_before_the_phase_allows_it(tmp_path: Path) -> None:
    class Late(Quadratic):
        def selectable(self, step: int) -> bool:
            return step > 10

    phase = Late(recall=lambda validation: 1 / validation)
    outcome = run_phase(phase, Run(tmp_path), max_steps=100, evaluate_every=5, patience=2)
    assert (outcome.best_step, outcome.steps) == (15, 25)


def interrupt_at(wanted: int) -> Callable[[int], None]:
    def at_step(step: int) -> None:
        if step == wanted:
            os.kill(os.getpid(), signal.SIGINT)

    return at_step


@pytest.mark.parametrize("step", [0, 4, 5, 22, 38])
def test_an_interrupted_and_resumed_run_is_the_same_run(step: int, tmp_path: Path) -> None:
    whole = Quadratic(noise=True)
    expected = fitted(whole, Run(tmp_path / "whole", seed=1))
    parted = Run(tmp_path / "parted", seed=1)
    with pytest.raises(Interrupted, match=f"after step {step + 1}.*--resume --out {parted.directory}"):
        fitted(Quadratic(noise=True, at_step=interrupt_at(step)), parted)
    resumed = Quadratic(noise=True)
    torch.rand(5)
    outcome = fitted(resumed, Run(parted.directory, seed=1, resume=True))
    assert torch.equal(resumed.module.w, whole.module.w)
    assert (outcome.best_step, outcome.steps, outcome.best) == (expected.best_step, expected.steps, expected.best)
    for key, value in whole.optimiser.state_dict()["state"][0].items():
        assert torch.equal(resumed.optimiser.state_dict()["state"][0][key], value), key
    histories = [(run / "history.jsonl").read_text() for run in (tmp_path / "whole", parted.directory)]
    assert histories[0] == histories[1]


def test_the_advice_is_of_the_command_that_was_given(tmp_path: Path) -> None:
    """A fit within a run has a directory of its own, which no command can go on with."""
    outer = Run(tmp_path / "run")
    with pytest.raises(Interrupted, match=rf"--resume --out {outer.directory} goes on"):
        fitted(Quadratic(at_step=interrupt_at(3)), replace(outer, directory=outer.directory / "joined", seed=1))
    with pytest.raises(Interrupted, match=r"checkpoint written; ask me again$"):
        fitted(Quadratic(at_step=interrupt_at(3)), Run(tmp_path / "other", advice="ask me again"))


def test_an_interruption_in_the_last_step_is_not_forgotten(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        fitted(Quadratic(at_step=interrupt_at(39)), Run(tmp_path))
    assert fitted(Quadratic(), Run(tmp_path, resume=True)).steps == 40


def test_a_second_interruption_does_not_wait(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    # whatever handler other tests' servers left behind
    given = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, given))

    def twice(step: int) -> None:
        if step == 12:
            os.kill(os.getpid(), signal.SIGINT)
            while signal.getsignal(signal.SIGINT) is not before:
                time.sleep(0.001)  # two at once may arrive as one
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)  # ends when it arrives

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fitted(Quadratic(at_step=twice), Run(tmp_path))
    assert signal.getsignal(signal.SIGINT) is before
    whole, resumed = Quadratic(), Quadratic()
    fitted(whole, Run(tmp_path / "whole"))
    fitted(resumed, Run(tmp_path, resume=True))  # from the checkpoint of step 10
    assert torch.equal(resumed.module.w, whole.module.w)


def test_a_crash_loses_the_steps_since_the_last_validation_and_no_more(tmp_path: Path) -> None:
    def crash(step: int) -> None:
        if step == 23:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fitted(Quadratic(noise=True, at_step=crash), Run(tmp_path / "parted"))
    taken: list[int] = []
    resumed, whole = Quadratic(noise=True, at_step=taken.append), Quadratic(noise=True)
    fitted(resumed, Run(tmp_path / "parted", resume=True))
    fitted(whole, Run(tmp_path / "whole"))
    assert taken[0] == 20
    assert torch.equal(resumed.module.w, whole.module.w)


def test_a_finished_phase_is_not_run_again(tmp_path: Path) -> None:
    first = Quadratic()
    outcome = fitted(first, Run(tmp_path))
    steps: list[int] = []
    again = Quadratic(at_step=steps.append)
    resumed = fitted(again, Run(tmp_path, resume=True))
    assert steps == []
    assert resumed == outcome
    assert torch.equal(again.module.w, first.module.w)
    fresh = Quadratic(at_step=steps.append)
    fitted(fresh, Run(tmp_path))  # without `resume` checkpoints are not looked at
    assert len(steps) == 40


def test_a_loss_that_is_not_a_number_stops_the_run_naming_step_and_parts(tmp_path: Path) -> None:
    class Broken(Quadratic):
        def losses(self, step: int, rng: np.random.Generator) -> dict[str, torch.Tensor]:
            parts = super().losses(step, rng)
            return {**parts, "third": torch.tensor(float("inf" if step == 17 else 0))}

    with pytest.raises(NotANumber, match=r"quadratic.*step 17 \(seed 2\).*'third': inf") as caught:
        fitted(Broken(), Run(tmp_path, seed=2))
    assert isinstance(caught.value, TrainingError)


def test_a_gradient_that_is_not_a_number_stops_the_run_before_it_reaches_the_weights(tmp_path: Path) -> None:
    class Broken(Quadratic):
        def losses(self, step: int, rng: np.random.Generator) -> dict[str, torch.Tensor]:
            parts = super().losses(step, rng)
            zero = (self.module.w - self.module.w.detach()).square().sum()
            return parts if step < 6 else {**parts, "root": zero.sqrt()}  # 0, with an infinite slope

    phase = Broken()
    with pytest.raises(NotANumber, match=r"gradients of w in quadratic.*step 6"):
        fitted(phase, Run(tmp_path))
    assert bool(phase.module.w.isfinite().all())


def test_history_has_a_line_per_validation(tmp_path: Path) -> None:
    fitted(Quadratic(), Run(tmp_path), max_steps=20)
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [5, 10, 15, 20]
    for line in lines:
        assert line["phase"] == "quadratic"
        assert line["loss"] == pytest.approx(line["fit"] + line["penalty"])
        assert line["valid/recall@20"] < 0


def test_the_average_is_validated_and_kept_while_steps_go_on_from_the_parameters(tmp_path: Path) -> None:
    decay, path = 0.9, [torch.tensor([0.5, 0.25])]
    plain = Quadratic(at_step=lambda _: path.append(plain.module.w.detach().clone()))
    fitted(plain, Run(tmp_path / "plain", seed=1), max_steps=30, evaluate_every=None)
    path.append(plain.module.w.detach().clone())
    steps = path[2:]  # the parameters after each step
    average = path[0]
    for step, after in enumerate(steps, start=1):
        kept = min(decay, step / (step + 9))
        average = kept * average + (1 - kept) * after

    seen: list[torch.Tensor] = []

    def recall(validation: int) -> float:
        seen.append(phase.module.w.detach().clone())
        return float(validation)

    phase = Quadratic(recall=recall)
    phase.average = decay
    fitted(phase, Run(tmp_path / "averaged", seed=1), max_steps=30)
    torch.testing.assert_close(seen[-1], average)
    torch.testing.assert_close(phase.module.w.detach(), average)
    assert (average - steps[-1]).abs().max() > 0.01

    unjudged = Quadratic()
    unjudged.average = decay
    fitted(unjudged, Run(tmp_path / "unjudged", seed=1), max_steps=30, evaluate_every=None)
    torch.testing.assert_close(unjudged.module.w.detach(), average)


def test_a_resumed_average_is_that_of_a_run_without_interruption(tmp_path: Path) -> None:
    whole, part = Quadratic(), Quadratic()
    whole.average = part.average = 0.9
    fitted(whole, Run(tmp_path / "whole"), max_steps=30)

    def stop(step: int) -> None:
        if step == 17:
            os.kill(os.getpid(), signal.SIGINT)

    part.at_step = stop
    with pytest.raises(Interrupted):
        fitted(part, Run(tmp_path / "part"), max_steps=30)
    again = Quadratic()
    again.average = 0.9
    fitted(again, Run(tmp_path / "part", resume=True), max_steps=30)
    assert torch.equal(again.module.w.detach(), whole.module.w.detach())


def test_a_resumed_run_knows_what_its_phases_took_before(tmp_path: Path) -> None:
    first = Run(tmp_path)
    outcome = fitted(Quadratic(), first)
    assert not first.earlier
    resumed = Run(tmp_path, resume=True)
    assert fitted(Quadratic(), replace(resumed, seed=resumed.seed)).seconds == outcome.seconds > 0
    assert resumed.earlier == [outcome.seconds]


def test_averages_of_a_checkpoint_go_where_the_parameters_are() -> None:
    """Checkpoints are read into ordinary memory; a device of its own kind stands for an accelerator."""
    module = torch.nn.Linear(2, 1)
    kept = Averages(module, lambda _: 0.9).state()
    elsewhere = Averages(module.to("meta"), lambda _: 0.9)
    elsewhere.load(kept)
    elsewhere.update(1)
    assert {value.device.type for value in elsewhere.state().values()} == {"meta"}
