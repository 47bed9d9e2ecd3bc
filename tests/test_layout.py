"""The tree that CONTRIBUTING.md shows is the tree on disk."""

import subprocess

import pytest

from tests.support import docs, layout


@pytest.fixture(autouse=True)
def _in_a_checkout() -> None:
    if subprocess.run(["git", "rev-parse", "--git-dir"], cwd=layout.ROOT, capture_output=True).returncode:
        pytest.skip("not a git checkout: the layout is that of committed files")


def test_contributing_shows_the_tree_as_it_is() -> None:
    page = (layout.ROOT / "CONTRIBUTING.md").read_text()
    assert docs.section(page, "layout") == docs.fenced(layout.tree()), "stale: run `make docs`"


def test_nothing_is_described_that_is_not_there() -> None:
    assert [path for path in layout.DESCRIBED if not (layout.ROOT / path).exists()] == []


def test_top_level_folders_are_the_architecture() -> None:
    folders = {file.parts[0] for file in layout.tracked() if len(file.parts) > 1}
    assert folders == {".ci", "docker", "model_store", "service", "tests", "training"}
