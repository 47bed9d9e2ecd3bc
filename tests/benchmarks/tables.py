"""Figures as tables: printed, written as JSON under `results/`, and read from there by the README."""

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
        """As the README shows it."""
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
    """Every table that there are figures for, as the README shows them."""
    found = [result for name in NAMES if (result := read(name)) is not None]
    parts = [f"{result.markdown()}\n\n{_origin(result)}" for result in found]
    return "\n\n".join(parts) or "Nothing was measured yet."


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
