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

    resumed = replace(run, resume=True)
    assert run.kept("closed-form", "data", choose) == {"reg": 2.0}
    assert resumed.kept("closed-form", "data", choose) == {"reg": 2.0}
    assert run.kept("closed-form", "data", choose) == {"reg": 4.0}, "a new run in the same place chooses for itself"
    assert resumed.kept("other", "data", choose) == {"reg": 6.0}
    assert resumed.kept("closed-form", "other data", choose) == {"reg": 8.0}, "it would have chosen of something else"
    assert resumed.kept("closed-form", "other data", choose) == {"reg": 8.0}


def test_what_was_damaged_is_named(tmp_path: Path) -> None:
    run = Run(tmp_path, resume=True)
    run.kept("closed-form", "data", lambda: {"reg": 1.0})
    (run.checkpoints / "closed-form.json").write_text('{"reg": 1')
    with pytest.raises(TrainingError, match=r"closed-form\.json, found a damaged file"):
        run.kept("closed-form", "data", lambda: {"reg": 1.0})
