"""Commands, options, settings, endpoints and figures stand in the pages as they are, and links lead somewhere."""

import re
from dataclasses import replace
from pathlib import Path

import click
import pytest

from tests.benchmarks import tables
from tests.support import docs, layout, reference

PAGES = ("README.md", "tests/BENCHMARKS.md")  # CONTRIBUTING.md shows what git knows: test_layout.py


@pytest.mark.parametrize(("page", "name"), [(page, name) for page in PAGES for name in docs.PARTS[page]])
def test_pages_show_what_the_code_has(page: str, name: str) -> None:
    text = (layout.ROOT / page).read_text()
    assert docs.section(text, name) == docs.PARTS[page][name](), "stale: run `make docs`"


def test_an_option_without_help_is_an_error() -> None:
    silent = click.Command("silent", params=[click.Option(["--loud"])], help="Say nothing.")
    with pytest.raises(LookupError, match="silent --loud has no help"):
        reference.options({"silent": silent}, "silent")


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_relative_links_lead_to_files(page: str) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", (layout.ROOT / page).read_text())
    assert [target for target in targets if not Path(layout.ROOT, target).exists()] == []


def test_a_headline_without_its_row_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = replace(tables.HEADLINES[0], row=("asked again", "17"))
    monkeypatch.setattr(tables, "HEADLINES", (gone,))
    with pytest.raises(LookupError, match=r"'17'.*none in serve"):
        tables.headlines()


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
