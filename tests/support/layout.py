"""The tree of the repository with one line per file, as CONTRIBUTING.md shows it.

A Python file is described by the first line of its docstring, so the tree cannot drift from the code; everything else
is described in `DESCRIBED`. A folder without Python files, and every folder of tests, is one line.
"""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[2]

DESCRIBED = {
    ".ci": "what continuous integration runs: `make test`",
    ".dockerignore": "what stays out of the images' build context",
    ".gitignore": "what is never committed",
    "CHANGELOG.md": "what changed, and what changes results",
    "CONTRIBUTING.md": "this file",
    "LICENSE": "Apache-2.0",
    "Makefile": "the commands; `make help` lists them",
    "README.md": "what it is, how to use it, every command, setting and endpoint",
    "docker": "one Dockerfile per image, and what they need",
    ".secrets.baseline": "what looks like a secret and is none (`make secrets`)",
    "SECURITY.md": "what is protected against whom, and how to report a weakness",
    "docker-compose.yml": "Redis, trainer and service together",
    "pyproject.toml": "the distribution, its dependencies with reasons, and the configuration of every tool",
    "model_store/FORMAT.md": "the snapshot format, enough to read and check one in another language",
    "service/console": "the page at `/`: HTML, style and modules, as the browser gets them",
    "service/LOG.md": "what was tried for speed, and what it gave",
    "tests": "mirrors the packages",
    "tests/benchmarks": "what is measured rather than tested, with the machine it ran on",
    "tests/BENCHMARKS.md": "how fast it was, and on which machine",
    "tests/contract": "suites that every implementation of a protocol inherits",
    "tests/e2e": "the whole road, from a dataset to an answer over HTTP",
    "tests/model_store": "the contract: format, store, scoring",
    "tests/reliability": "what the README promises when things break: faults under load, hostile input, privacy, soak",
    "tests/RELIABILITY.md": "what was measured when things broke, and over hours",
    "tests/service": "the online side",
    "tests/support": "what several tests share, and the scripts behind make",
    "tests/training": "the offline side",
    "training/RESULTS.md": "what the models reach, made of `results/rows/` by `magnet-train results write`",
    "training/results/datasets.toml": "where the data sets of the tables come from",
    "training/results/rows": "one JSON file per row and seed, with the users' metrics beside it",
    "training/LOG.md": "what was tried for quality, and what it gave, failures included",
}
UNLISTED = {"__init__.py", "py.typed"}


def tracked() -> list[PurePosixPath]:
    """Every committed file, relative to the root."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [PurePosixPath(name) for name in listing.split("\0") if name and (ROOT / name).exists()]


def tree() -> str:
    """The whole tree in two columns: name, indented by depth, and description.

    Raises `LookupError` naming what has no description.
    """
    lines = list(rows(PurePosixPath("."), tracked()))
    width = max(len(name) for name, _ in lines) + 2
    return "\n".join(f"{name:{width}}{description}" for name, description in lines)


def rows(folder: PurePosixPath, files: list[PurePosixPath]) -> Iterator[tuple[str, str]]:
    """Name and description of everything listed below `folder`, files before folders."""
    depth = len(folder.parts)
    below = [file for file in files if folder in file.parents and file.name not in UNLISTED]
    for file in sorted(file for file in below if file.parent == folder):
        yield "  " * depth + file.name, describe(file)
    for child in sorted({PurePosixPath(*file.parts[: depth + 1]) for file in below if file.parent != folder}):
        yield "  " * depth + child.name + "/", describe(child)
        modules = any(file.suffix == ".py" and child in file.parents for file in below)
        if modules and folder.name != "tests":
            yield from rows(child, files)


def describe(path: PurePosixPath) -> str:
    """One line about a file or folder. Raises `LookupError` where there is none."""
    source = ROOT / path / "__init__.py" if (ROOT / path).is_dir() else ROOT / path
    if str(path) in DESCRIBED:
        return DESCRIBED[str(path)]
    docstring = ast.get_docstring(ast.parse(source.read_text())) if source.suffix == ".py" and source.exists() else None
    if not docstring:
        raise LookupError(f"{path}: describe it by a docstring, or in tests/support/layout.py where it is not Python")
    return docstring.splitlines()[0].rstrip(".")
