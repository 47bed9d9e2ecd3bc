"""Rows compared in pairs, kept beside them: the bootstrap takes seconds each, and rows change one at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, TypeAdapter

from training.comparison import ComparedModel, FinishedRun
from training.config import RunConfig
from training.evaluation.per_user import OVERALL
from training.evaluation.significance import PairedDifference, holm, paired_bootstrap
from training.results.row import METRICS, ResultsError, Row, read_groups

FILE = "significance.json"
PART = "test"


@dataclass(frozen=True)
class Entry:
    """The rows of one label, by seed, with the files they lie in."""

    label: str
    rows: tuple[Row, ...]
    paths: tuple[Path, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Ascending."""
        return tuple(row.seed for row in self.rows)


class Pair(BaseModel):
    """The reference minus another entry, in one group and metric."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    paired: PairedDifference
    reference: float
    """Mean of the reference over the same users and seeds."""


@dataclass(frozen=True)
class Compared:
    """A line of a table: the reference against another entry, over the seeds that both have."""

    other: str
    group: str
    metric: str
    seeds: tuple[int, ...]
    pair: Pair
    adjusted: float
    """The p-value after Holm's correction over the comparisons of one table."""


KNOWN = TypeAdapter(dict[str, Pair])


class Comparisons:
    """Every comparison that was made in a folder of rows, by what it was made of."""

    def __init__(self, folder: Path) -> None:
        """Read what is known; nothing is computed here."""
        self._path = folder / FILE
        self._known: dict[str, Pair] = {}
        if self._path.exists():
            self._known = KNOWN.validate_json(self._path.read_bytes())
        self._used: set[str] = set()

    def against(self, reference: Entry, others: Sequence[Entry], groups: Sequence[str]) -> list[Compared]:
        """The reference against every other entry that shares a seed with it, in both metrics.

        Raises:
            ResultsError: two entries have other users in a group.

        """
        found = [
            (other.label, group, metric, seeds, self._pair(reference, other, seeds, group, metric))
            for other in others
            if (seeds := tuple(sorted(set(reference.seeds) & set(other.seeds))))
            for group in groups
            if all(group == OVERALL or group in row.strata for row in (*reference.rows, *other.rows))
            for metric in METRICS
        ]
        adjusted = holm([pair.paired.p_value for *_, pair in found])
        return [Compared(*entry, p) for entry, p in zip(found, adjusted, strict=True)]

    def save(self) -> None:
        """Write what was used, and forget the rest."""
        if kept := {key: self._known[key] for key in sorted(self._used)}:
            self._path.write_bytes(KNOWN.dump_json(kept, indent=1) + b"\n")
        else:
            self._path.unlink(missing_ok=True)

    def _pair(self, reference: Entry, other: Entry, seeds: Sequence[int], group: str, metric: str) -> Pair:
        key = f"{reference.label} − {other.label}, {group}, {metric}: {_digest(reference, other, seeds)}"
        if key not in self._known:
            (rows, ours), (their_rows, theirs) = (
                _model(entry, seeds).per_user(PART, group, metric) for entry in (reference, other)
            )
            if not np.array_equal(rows, their_rows):
                raise ResultsError(
                    f"{reference.label!r} and {other.label!r} of {self._path.parent} were evaluated on different users "
                    f"in the group {group!r}"
                )
            self._known[key] = Pair(paired=paired_bootstrap(ours, theirs), reference=float(ours.mean()))
        self._used.add(key)
        return self._known[key]


def _digest(reference: Entry, other: Entry, seeds: Sequence[int]) -> str:
    """Of the users' metrics that a comparison is made of."""
    content = hashlib.sha256()
    for entry in (reference, other):
        for row, path in zip(entry.rows, entry.paths, strict=True):
            if row.seed in seeds:
                content.update(hashlib.sha256(path.with_suffix(".npz").read_bytes()).digest())
    return content.hexdigest()[:16]


def _model(entry: Entry, seeds: Sequence[int]) -> ComparedModel:
    """The entry's runs of these seeds, as `compare` has them."""
    runs = [
        FinishedRun(path, RunConfig(data=Path(row.dataset), model=row.model, seed=row.seed), row.split, {PART: groups})
        for row, path in zip(entry.rows, entry.paths, strict=True)
        if row.seed in seeds and (groups := read_groups(path))
    ]
    return ComparedModel(entry.label, tuple(runs))
