"""Reports of real runs: in the run directory with everything, in the snapshot without clock and machine."""

import json
from pathlib import Path

import pytest
import tomli_w
from click.testing import CliRunner

from model_store.store import Store
from tests.support.tiny_dataset import tiny_dataset, write_dataset
from training.cli import main

QUICK = {"model": "bpr", "text": "none", "image": "none", "settings": {"max_epochs": 3}}


def magnet_train(*arguments: str | Path) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two equal runs in two places."""
    roots = []
    for _ in range(2):
        root = tmp_path_factory.mktemp("place")
        write_dataset(root / "tiny", tiny_dataset())
        (root / "quick.toml").write_text(tomli_w.dumps(QUICK), encoding="utf-8")
        options: list[str | Path] = ["run", "--data", root / "tiny", "--config", root / "quick.toml"]
        magnet_train(*options, "--out", root / "run", "--store", root / "store")
        roots.append(root)
    return roots


def test_equal_runs_have_equal_snapshots_with_report_and_card(roots: list[Path]) -> None:
    snapshots = [Store(root / "store").open(verify="hash") for root in roots]
    assert snapshots[0].id == snapshots[1].id
    assert {"report.html", "MODEL_CARD.md", "history.json"} <= set(snapshots[0].manifest.files)
    card = (snapshots[0].path / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "Dataset tiny: 60 users, 40 items" in card
    fitting = json.loads((snapshots[0].path / "history.json").read_text(encoding="utf-8"))
    assert fitting
    assert all(record["step"] > 0 and "loss" in record for records in fitting.values() for record in records)


def test_the_snapshot_says_nothing_of_clock_and_machine(roots: list[Path]) -> None:
    snapshot = Store(roots[0] / "store").open()
    for name in ("report.html", "MODEL_CARD.md", "history.json"):
        text = (snapshot.path / name).read_text(encoding="utf-8")
        for word in ("seconds", "Environment", "peak_memory", str(roots[0])):
            assert word not in text, (name, word)


def test_the_run_directory_has_the_full_report_and_can_write_it_again(roots: list[Path]) -> None:
    path = roots[0] / "run" / "report.html"
    page = path.read_text(encoding="utf-8")
    for text in ("Environment", "Candidate recall", "Loss and validation", "max_epochs = 3", "data = &quot;tiny&quot;"):
        assert text in page, text
    assert str(roots[0]) not in page
    path.unlink()
    assert magnet_train("report", roots[0] / "run").strip() == str(path)
    assert path.read_text(encoding="utf-8") == page
