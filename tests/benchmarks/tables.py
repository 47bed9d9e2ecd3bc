"""Figures as tables: printed, written as JSON under `results/`, and from there to BENCHMARKS.md and the README."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.benchmarks.machine import machine

NAMES = ("serve", "retrieval", "store", "train")
FOLDER = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Table:
    """One table; cells are text by now."""

    title: str
    columns: list[str]
    rows: list[list[str]]

    def markdown(self) -> str:
        """As Markdown shows it."""
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        return "\n".join([f"{self.title}:", "", *("| " + " | ".join(line) + " |" for line in lines)])


@dataclass(frozen=True)
class Result:
    """What one benchmark found. `raw` are the figures before they became cells."""

    name: str
    tables: list[Table]
    raw: dict[str, object] = field(default_factory=dict)
    machine: dict[str, str] = field(default_factory=machine)
    finished: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="minutes"))

    def keep(self) -> None:
        """Print it, and write it to `results/<name>.json`."""
        print("\n\n".join([self.markdown(), f"{self.machine}"]), flush=True)
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / f"{self.name}.json").write_text(json.dumps(asdict(self), indent=1) + "\n")

    def markdown(self) -> str:
        """All tables."""
        return "\n\n".join(table.markdown() for table in self.tables)


def read(name: str) -> Result | None:
    """What `keep` wrote last; None where nothing was measured yet."""
    path = FOLDER / f"{name}.json"
    if not path.exists():
        return None
    fields = json.loads(path.read_text())
    return Result(**fields | {"tables": [Table(**table) for table in fields["tables"]]})


def every() -> str:
    """Every table that there are figures for, as BENCHMARKS.md shows them."""
    found = [result for name in NAMES if (result := read(name)) is not None]
    parts = [f"{result.markdown()}\n\n{_origin(result)}" for result in found]
    return "\n\n".join(parts) or "Nothing was measured yet."


@dataclass(frozen=True)
class Headline:
    """A line of the README's table: what it says of which cells."""

    what: str
    benchmark: str
    title: str
    """How the title of the table begins."""
    row: tuple[str, ...]
    """The cells that its row begins with."""
    text: str
    """The figure, with columns in braces."""


HEADLINES = (
    Headline(
        "a page that was asked for before, 16 connections", "serve", "Requests per second", ("asked again", "16"),
        "{requests/s} requests/s, {of bare ASGI} of bare ASGI with the same bytes",
    ),
    Headline(
        "… asked for the first time", "serve", "Requests per second", ("a new user each", "16"),
        "{requests/s} requests/s, {of bare ASGI}",
    ),
    Headline(
        "… with nothing made ahead", "serve", "Requests per second",
        ("a new user each, nothing made ahead", "16"), "{requests/s} requests/s",
    ),
    Headline(
        "at half the rate: a page asked for before", "serve", "Milliseconds per call", ("asked again",),
        "p50 {p50} ms, p99 {p99} ms at {calls/s} calls/s",
    ),
    Headline(
        "… asked for the first time", "serve", "Milliseconds per call", ("a new user each",),
        "p50 {p50} ms, p99 {p99} ms at {calls/s} calls/s",
    ),
    Headline(
        "1,000,000 items, nothing made ahead, 1 connection", "retrieval", "Calls of one worker", ("1,000,000",),
        "p50 {p50, ms, 1 connection} ms, p99 {p99} ms",
    ),
    Headline(
        "… a worker's start, a swap, memory of its own", "retrieval", "Starting", ("1,000,000",),
        "{ready after, s} s, {swap, s} s, {own MiB} MiB",
    ),
    Headline(
        "… publishing such a snapshot, with as many users", "store", "Streaming", ("1,000,000",),
        "{written, s} s, {MiB on disk} MiB, {memory of writing, MiB} MiB of memory",
    ),
    Headline(
        "evaluating MAGNET, 19,000 users × 7,000 items", "train", "One exact", ("MAGNET, every pair routed",),
        "{seconds} s on two threads",
    ),
)  # fmt: skip


def headlines() -> str:
    """The README's table: a few cells of `every`.

    Raises:
        LookupError: a benchmark no longer has the table or the row.

    """
    lines = ["| what | figure |", "| --- | --- |"]
    for headline in HEADLINES:
        result = read(headline.benchmark)
        if result is not None:
            lines.append(f"| {headline.what} | {_filled(headline, result)} |")
    return "\n".join(lines)


def _filled(headline: Headline, result: Result) -> str:
    for table in result.tables:
        for row in table.rows:
            if table.title.startswith(headline.title) and tuple(row[: len(headline.row)]) == headline.row:
                text = headline.text
                for column, cell in zip(table.columns, row, strict=True):
                    text = text.replace(f"{{{column}}}", cell)
                return text
    raise LookupError(f"expected a table {headline.title!r} with a row {headline.row}, found none in {result.name}")


def _origin(result: Result) -> str:
    ran = result.machine
    versions = ", ".join(f"{name} {ran[name]}" for name in ("python", "numpy", "faiss-cpu", "uvicorn") if name in ran)
    where = f"{ran['processor']}, {ran['cores']} cores, {ran['memory']}, {versions}"
    busy = f"load average before: {ran['load before']}"
    return f"`make bench BENCH={result.name}` at {ran['commit']}, {result.finished[:10]}, {where}; {busy}."


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median, and the extremes where there are several: `0.41 (0.40 to 0.43)`."""
    middle = f"{statistics.median(values):,.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def ratios(values: Sequence[float], of: Sequence[float]) -> list[float]:
    """Each round's figure as a share of the same round's."""
    return [value / base for value, base in zip(values, of, strict=True)]
