"""`magnet-store`: what it prints, and that its errors are one line on stderr."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from model_store import Store
from model_store.cli import main
from tests.support.tiny_snapshot import write_tiny_pair_snapshot, write_tiny_popularity_snapshot


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def two(root: Path) -> list[str]:
    """A `pair` snapshot, which is current, and a `popularity` snapshot."""
    ids = [write_tiny_pair_snapshot(root), write_tiny_popularity_snapshot(root)]
    Store(root).promote(ids[0])
    return ids


def run(root: Path, *arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [*arguments, "--store", str(root)])
    assert result.exit_code == code, result.output
    return result


def test_list(root: Path, two: list[str]) -> None:
    lines = run(root, "list").stdout.splitlines()
    assert sorted(line[:34] for line in lines) == sorted([f"* {two[0]}", f"  {two[1]}"])
    listed = {entry["id"]: entry for entry in json.loads(run(root, "list", "--json").stdout)}
    assert listed.keys() == set(two)
    found = listed[two[0]]
    assert found["current"] is True
    assert (found["model"], found["scoring"], found["n_users"], found["n_items"]) == ("magnet", "pair", 20, 50)
    published = root / "snapshots" / two[0]
    sizes = [path.stat().st_size for path in published.rglob("*") if path.is_file() and path.name != "manifest.json"]
    assert found["bytes"] == sum(sizes)
    assert found["problem"] is None


def test_list_of_nothing(root: Path) -> None:
    assert "no snapshots" in run(root, "list").stdout
    assert json.loads(run(root, "list", "--json").stdout) == []


def test_list_shows_what_cannot_be_read(root: Path, two: list[str]) -> None:
    manifest = root / "snapshots" / two[1] / "manifest.json"
    manifest.chmod(0o644)
    manifest.write_bytes(b"{}")
    assert f"  {two[1]}  unreadable: manifest.json" in run(root, "list").stdout
    assert {entry["id"]: entry["problem"] is None for entry in json.loads(run(root, "list", "--json").stdout)} == {
        two[0]: True,
        two[1]: False,
    }
    assert "manifest.json" in run(root, "show", two[1], code=2).stderr


@pytest.mark.parametrize("named", ["whole", "beginning", "current"])
def test_show(root: Path, two: list[str], named: str) -> None:
    name = {"whole": two[0], "beginning": two[0][:8], "current": "current"}[named]
    shown = json.loads(run(root, "show", name, "--json").stdout)
    assert (shown["id"], shown["current"], shown["scoring"]) == (two[0], True, "pair")
    assert [term["name"] for term in shown["terms"]][:2] == ["item-item", "dominant-behaviour"]
    text = run(root, "show", name).stdout
    assert two[0] in text
    assert "complementary-textual (complementary) behaviour 0.50, visual 0.50, textual 0.00" in text


def test_verify_promote_rollback_prune(root: Path, two: list[str]) -> None:
    assert run(root, "verify", two[1]).stdout == f"{two[1]}: valid\n"
    assert run(root, "promote", two[1]).stdout == f"{two[1]}: current\n"
    assert run(root, "rollback").stdout == f"{two[0]}: current\n"
    assert run(root, "prune").stdout == "0 removed\n"
    assert run(root, "prune", "--keep", "0").stdout == f"{two[1]}: removed\n1 removed\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "0000"], "expected one snapshot of id '0000', found none"),
        (["show", ""], "expected one snapshot of id ''"),
        (["verify", "../../etc"], "expected one snapshot"),
        (["promote", "x"], "expected one snapshot"),
        (["rollback"], "no earlier snapshot"),
    ],
)
def test_errors_go_to_stderr_with_code_2(root: Path, two: list[str], arguments: list[str], said: str) -> None:
    result = run(root, *arguments, code=2)
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert said in result.stderr
    assert Store(root).current() == two[0]


def test_a_damaged_snapshot_is_not_promoted(root: Path, two: list[str]) -> None:
    file = root / "snapshots" / two[1] / "arrays" / "popularity.npy"
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-1])
    for command in ("promote", "verify"):
        assert "arrays/popularity.npy: expected" in run(root, command, two[1], code=2).stderr


def test_the_installed_command_shows_no_traceback(root: Path) -> None:
    command = [str(Path(sys.executable).with_name("magnet-store")), "rollback", "--store", str(root)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"Error: {root}: expected a store, found nothing\n"


def test_every_command_and_option_is_explained() -> None:
    for name, command in main.commands.items():
        assert command.help, name
        for option in command.params:
            assert option.param_type_name == "argument" or getattr(option, "help", None), f"{name} {option.name}"
