"""Every command, option, setting and endpoint is in the README as the code has it, and its links lead somewhere."""

import re
from pathlib import Path

import click
import pytest

from tests.support import docs, layout, reference


@pytest.mark.parametrize("name", docs.PARTS["README.md"])
def test_readme_shows_what_the_code_has(name: str) -> None:
    page = (layout.ROOT / "README.md").read_text()
    assert docs.section(page, name) == docs.PARTS["README.md"][name](), "stale: run `make docs`"


def test_an_option_without_help_is_an_error() -> None:
    silent = click.Command("silent", params=[click.Option(["--loud"])], help="Say nothing.")
    with pytest.raises(LookupError, match="silent --loud has no help"):
        reference.options({"silent": silent}, "silent")


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_relative_links_lead_to_files(page: str) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", (layout.ROOT / page).read_text())
    assert [target for target in targets if not Path(layout.ROOT, target).exists()] == []


def test_readme_names_only_make_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (layout.ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for page in ("README.md", "CONTRIBUTING.md"):
        named = set(re.findall(r"(?:^|`)make ([a-z-]+)", (layout.ROOT / page).read_text(), flags=re.MULTILINE))
        assert named, page
        assert named <= targets, page


@pytest.mark.parametrize("page", ["README.md", "SECURITY.md"])
def test_tests_that_pages_name_exist(page: str) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", (layout.ROOT / page).read_text())
    assert named
    for file, test in named:
        source = (layout.ROOT / file).read_text()
        assert not test or f"def {test}(" in source, f"{file}::{test}"
