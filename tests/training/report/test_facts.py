"""What a report reads back: histories by phase, no places, no clock."""

import json
from pathlib import Path

import pytest

from training.report.facts import (
    ReportError,
    grouped,
    read_run,
    series,
    switch_steps,
    without_places,
    without_the_clock,
)


def test_records_of_one_step_are_put_together_and_sorted_within_their_phase() -> None:
    lines = [
        '{"phase": "router", "step": 3, "loss": 0.5}',
        '{"phase": "base", "step": 1, "loss": 2.0}',
        '{"phase": "router", "step": 1, "load_entropy": 0.9}',
        '{"phase": "router", "step": 3, "stage_switch": 1.0}',
    ]
    history = grouped(lines)
    assert list(history) == ["router", "base"]
    assert history["router"] == [{"step": 1, "load_entropy": 0.9}, {"step": 3, "loss": 0.5, "stage_switch": 1.0}]
    assert series(history["router"], "loss") == ([3.0], [0.5])
    assert switch_steps(history["router"]) == [3.0]
    assert switch_steps(history["base"]) == []


@pytest.mark.parametrize("line", ["{", "[]", '"step"', '{"step": 1}', '{"phase": "base"}'])
def test_a_damaged_history_is_named_by_its_line(line: str) -> None:
    with pytest.raises(ReportError, match="line 2"):
        grouped(['{"phase": "base", "step": 1}', line])


def test_places_keep_only_their_last_name() -> None:
    config = {"data": "/somewhere/deep/baby", "features": "../made/here", "model": "magnet", "settings": {"members": 1}}
    assert without_places(config) == {
        "data": "baby",
        "features": "here",
        "model": "magnet",
        "settings": {"members": 1},
    }


def test_durations_and_memory_go_at_any_depth_and_nothing_else() -> None:
    metrics = {
        "seconds_per_epoch": 1.5,
        "peak_memory_mb": 900.0,
        "epochs": 3,
        "training": {"seconds": 9.0, "phases": {"base-0": {"steps": 5, "seconds": 4.0}}, "item_item": None},
    }
    assert without_the_clock(metrics) == {
        "epochs": 3,
        "training": {"phases": {"base-0": {"steps": 5}}, "item_item": None},
    }


def test_a_run_that_was_not_evaluated_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"metrics\.json"):
        read_run(tmp_path)
    (tmp_path / "metrics.json").write_text(json.dumps({"test": {}}))
    (tmp_path / "config.toml").write_text("model = ")
    with pytest.raises(ReportError, match="evaluated run"):
        read_run(tmp_path)
