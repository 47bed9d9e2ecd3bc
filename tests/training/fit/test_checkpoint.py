"""Checkpoints: whole or not at all, readable without running code, and errors that say which file."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.support.quadratic import Quadratic
from training.errors import TrainingError
from training.fit.checkpoint import load_checkpoint, save_checkpoint
from training.fit.loop import run_phase
from training.fit.run import Run

STATE = {"module": {"w": torch.arange(3.0)}, "step": 4, "best": {"recall@20": 0.25}, "best_state": None}


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "phase.pt"
    assert load_checkpoint(path) is None
    save_checkpoint(path, STATE)
    found = load_checkpoint(path)
    assert found is not None
    assert torch.equal(found["module"]["w"], STATE["module"]["w"])  # type: ignore[index]
    assert {key: found[key] for key in ("step", "best", "best_state")} == {
        key: STATE[key] for key in ("step", "best", "best_state")
    }
    assert [entry.name for entry in path.parent.iterdir()] == ["phase.pt"]


@pytest.mark.parametrize("keep", [0, 10, 0.5, -1])
def test_a_damaged_checkpoint_is_an_error_that_names_it(keep: float, tmp_path: Path) -> None:
    path = tmp_path / "phase.pt"
    save_checkpoint(path, STATE)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(TrainingError, match=str(path)):
        load_checkpoint(path)


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'owned'}",)

    for write in (torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))):
        write({"module": Payload()}, tmp_path / "phase.pt")
        with pytest.raises(TrainingError):
            load_checkpoint(tmp_path / "phase.pt")
    assert not (tmp_path / "owned").exists()


def test_a_checkpoint_of_another_model_is_an_error_that_names_it(tmp_path: Path) -> None:
    run_phase(Quadratic(), Run(tmp_path), max_steps=2, evaluate_every=1)
    other = Quadratic()
    other.module.w = torch.nn.Parameter(torch.zeros(3))
    with pytest.raises(TrainingError, match=r"this model and data in .*quadratic.pt"):
        run_phase(other, Run(tmp_path, resume=True), max_steps=2, evaluate_every=1)


def test_a_full_disk_leaves_the_old_checkpoint(small_disks: Callable[[int], Path]) -> None:
    path = small_disks(64) / "phase.pt"
    save_checkpoint(path, STATE)
    before = path.read_bytes()
    with pytest.raises(TrainingError, match=f"cannot write the checkpoint {path}") as caught:
        save_checkpoint(path, {"module": {"w": torch.zeros(100_000)}})
    assert isinstance(caught.value.__cause__, OSError | RuntimeError)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["phase.pt"]
