"""What a report is made of: a run's history, metrics and configuration, read back from its directory."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from training.errors import TrainingError

HISTORY, METRICS, CONFIG = "history.jsonl", "metrics.json", "config.toml"

_OF_THE_CLOCK = ("seconds", "peak_memory")
_PLACES = ("data", "features")

Record = Mapping[str, float]


class ReportError(TrainingError):
    """A run directory that a report cannot be made of."""


@dataclass(frozen=True)
class RunFacts:
    """Everything that both forms of the report show, beside the environment."""

    history: Mapping[str, list[Record]]
    """By phase in order of appearance: what was logged, by step."""
    metrics: Mapping[str, Any]
    """The content of `metrics.json`."""
    config: Mapping[str, Any]
    """The complete configuration; of places on the machine only the last name."""

    @property
    def data(self) -> Mapping[str, Any]:
        """Name and counts of the dataset; empty for runs of before they were kept."""
        return self.metrics.get("data") or {}

    @property
    def served(self) -> Mapping[str, Any]:
        """What was measured on the exported form; empty where nothing was exported."""
        return self.metrics.get("served") or {}

    @property
    def name(self) -> str:
        """Model and dataset, as a title."""
        dataset = self.data.get("name") or PurePath(str(self.config.get("data", ""))).name
        return f"{self.metrics.get('model', self.config.get('model', 'model'))} on {dataset or 'unnamed data'}"


def read_run(directory: Path) -> RunFacts:
    """The facts of a run that has been evaluated.

    Raises:
        ReportError: `metrics.json` or `config.toml` is missing or damaged.

    """
    try:
        metrics = json.loads((directory / METRICS).read_text(encoding="utf-8"))
        config = tomllib.loads((directory / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ReportError(f"expected {METRICS} and {CONFIG} of an evaluated run in {directory}: {error}") from error
    return RunFacts(read_history(directory), metrics, without_places(config))


def read_history(directory: Path) -> dict[str, list[Record]]:
    """`history.jsonl` by phase, one record per step; empty where the model logs nothing."""
    path = directory / HISTORY
    return grouped(path.read_text(encoding="utf-8").splitlines()) if path.exists() else {}


def grouped(lines: Iterable[str]) -> dict[str, list[Record]]:
    """Lines of `history.jsonl` by phase, those of one step put together.

    Raises:
        ReportError: a line is no entry of a history.

    """
    phases: dict[str, dict[int, dict[str, float]]] = {}
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            phase, step = str(entry.pop("phase")), int(entry["step"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ReportError(f"{HISTORY}, line {number}: expected phase and step, found {line[:80]!r}") from error
        phases.setdefault(phase, {}).setdefault(step, {}).update(entry)
    return {name: [records[step] for step in sorted(records)] for name, records in phases.items()}


def without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with paths cut down to their last name: where files lie is nobody else's concern."""
    return {name: PurePath(value).name if name in _PLACES else value for name, value in config.items()}


def without_the_clock(values: Any) -> Any:
    """`values` without durations and memory, at any depth: what is left is equal in equal runs."""
    if isinstance(values, Mapping):
        return {
            name: without_the_clock(value)
            for name, value in values.items()
            if not any(word in str(name) for word in _OF_THE_CLOCK)
        }
    return values


def series(records: Iterable[Record], name: str) -> tuple[list[float], list[float]]:
    """Steps and values of what was logged under `name`."""
    found = [(record["step"], record[name]) for record in records if name in record]
    return [float(step) for step, _ in found], [float(value) for _, value in found]


def switch_steps(records: Iterable[Record]) -> list[float]:
    """Steps at which the second stage of the routing began: one, or none."""
    return series(records, "stage_switch")[0]
