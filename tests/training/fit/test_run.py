"""What a run keeps beside its checkpoints: chosen once, read again by a resumed run, and never half-read."""

from dataclasses import replace
from pathlib import Path

import pytest

from training.errors import TrainingError
from training.fit.run import Run


def test_a_resumed_run_does_not_choose_again(tmp_path: Path) -> None:
    run, asked = Run(tmp_path), []

    def choose() -> dict[str, float]:
        asked.append(1)
        return {"reg": 2.0 * len(asked)}

    assert run.kept("closed-form", choose) == {"reg": 2.0}
    assert replace(run, resume=True).kept("closed-form", choose) == {"reg": 2.0}
    assert run.kept("closed-form", choose) == {"reg": 4.0}, "a new run in the same place chooses for itself"
    assert replace(run, resume=True).kept("other", choose) == {"reg": 6.0}


def test_what_was_damaged_is_named(tmp_path: Path) -> None:
    run = Run(tmp_path, resume=True)
    run.kept("closed-form", lambda: {"reg": 1.0})
    (run.checkpoints / "closed-form.json").write_text('{"reg": 1')
    with pytest.raises(TrainingError, match=r"closed-form\.json, found a damaged file"):
        run.kept("closed-form", lambda: {"reg": 1.0})
