"""kill -9 at every step of export, promote, rollback and prune: the store is valid after each."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def quick_disk() -> Iterator[Path]:
    """A folder where fsync costs nothing, if there is one: what a killed process leaves does not depend on the disk."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="magnet-", dir=memory if memory.is_dir() else None))
    yield folder
    shutil.rmtree(folder)


def crash_everywhere(action: str, work: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What was there before, and what was after each crash."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.crash_points", action, str(work)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    first, *steps = [json.loads(line) for line in done.stdout.splitlines()]
    assert [report["finished"] for report in steps] == [False] * (len(steps) - 1) + [True]
    before: dict[str, Any] = first["after"]
    return before, steps


@pytest.mark.parametrize(("action", "fewest_steps"), [("export", 60), ("promote", 6), ("rollback", 6), ("prune", 20)])
def test_killed_at_any_step(action: str, fewest_steps: int, quick_disk: Path) -> None:
    before, steps = crash_everywhere(action, quick_disk)
    assert len(steps) >= fewest_steps
    final = steps[-1]["after"]
    assert final != before
    for report in steps:
        # Whatever is visible is whole, and the pointer names either what it did before or what it was to name.
        assert report["after"]["problems"] == [], report
        assert report["after"]["current"] in (before["current"], final["current"]), report
        between = sorted((before["snapshots"], final["snapshots"]))
        assert between[0] <= report["after"]["snapshots"] <= between[1], report
        # Doing it again works, and nothing is left lying about.
        if action != "rollback":
            assert report["again"] == final, report
        assert report["left"] == [], report
    if final["current"] != before["current"]:
        seen = [report["after"]["current"] for report in steps]
        assert seen == sorted(seen, key=lambda current: current != before["current"]), "the pointer went back and forth"
