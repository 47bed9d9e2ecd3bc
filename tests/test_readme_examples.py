"""The README's worked examples do what it says: MMRec's files, and raw tables with pictures, become what is served."""

import csv
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from model_store.store import Store
from tests.support import layout, reference
from training.cli import main

# Appended to the README's commands, where the last one counts: the same way in, without minutes of fitting.
QUICKLY = ["--model", "vbpr", "--set", "settings.max_epochs=1", "--no-refit"]
USERS, ITEMS = 24, 16


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def blocks(heading: str) -> tuple[dict[str, list[str]], list[str]]:
    """Of a section with a worked example: its files with what they hold, and the arguments of `magnet-train`."""
    section = (layout.ROOT / "README.md").read_text().split(f"### {heading}\n")[1].split("\n### ")[0]
    listing, commands = re.findall(r"```\n(.*?)```", section, flags=re.DOTALL)[:2]
    files = {words[0]: words[1:] for line in listing.splitlines()[1:] if (words := line.split())}
    train = next(line for line in commands.splitlines() if "magnet-train" in line)
    return files, shlex.split(train)[1:]


def choices() -> Iterator[tuple[int, int]]:
    """Users and the items they took; half of the users like the first half of the items."""
    for user in range(USERS):
        for place in range(6):
            yield user, (user % 2) * ITEMS // 2 + (user + place) % (ITEMS // 2)


def trained(arguments: list[str]) -> set[str]:
    """Run what the README says; the modalities of the snapshot that the service would pick up."""
    result = CliRunner().invoke(main, arguments + QUICKLY, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    snapshot = Store(Path("model_store/artifacts")).open()
    assert (snapshot.n_users, snapshot.n_items) == (USERS, ITEMS)
    return {modality.name for modality in snapshot.manifest.modalities}


def test_files_of_mmrec() -> None:
    files, arguments = blocks("From MMRec")
    folder = Path(arguments[arguments.index("--data") + 1])
    folder.mkdir()
    lines = ["\t".join(files["baby.inter"])]
    for number, (user, item) in enumerate(choices()):
        told = {"rating": number % 5 + 1, "timestamp": 1_790_000_000}
        row = told | {"userID": user, "itemID": item, "x_label": {4: 1, 5: 2}.get(number % 6, 0)}
        lines.append("\t".join(str(row[column]) for column in files["baby.inter"]))
    (folder / "baby.inter").write_text("\n".join(lines) + "\n")
    rng = np.random.default_rng(0)
    for name in files:
        if name.endswith(".npy"):
            np.save(folder / name, rng.normal(size=(ITEMS, 8)))
    assert {"visual", "textual"} <= trained(arguments)


@pytest.mark.slow  # exports the default text encoder first
def test_raw_tables_and_pictures() -> None:
    files, arguments = blocks("From raw tables and pictures")
    folder = Path(arguments[arguments.index("--data") + 1])
    (folder / "pictures").mkdir(parents=True)
    with (folder / "interactions.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, files["interactions.csv"][0].split(","))
        table.writeheader()
        for time, (user, item) in enumerate(choices()):
            table.writerow({"user_id": f"user {user}", "item_id": f"cup-{item}", "timestamp": 1_790_000_000 + time})
    with (folder / "items.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, files["items.csv"][0].split(","))
        table.writeheader()
        for item in range(ITEMS):
            image = f"pictures/cup-{item}.jpg"
            Image.new("RGB", (32, 32), (item * 15, 120, 255 - item * 15)).save(folder / image)
            told = {"title": f"Cup {item}", "categories": "Kitchen|Cups", "description": f"A cup with {item} dots"}
            table.writerow({"item_id": f"cup-{item}", **told, "image": image})
    assert {"visual", "textual"} <= trained(arguments)
    assert Store(Path("model_store/artifacts")).open().item(0).image, "expected the picture for the console"


def test_alerts_name_metrics_that_there_are() -> None:
    rules = (layout.ROOT / "docker" / "prometheus" / "alerts.yml").read_text()
    named = {re.sub(r"_(bucket|count|sum)$", "", name) for name in re.findall(r"magnet_[a-z_]+", rules)}
    assert named
    assert named <= {name for name, _, _ in reference.telemetry()}
