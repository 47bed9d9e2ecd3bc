"""One finished run as it is committed: a JSON file of figures and settings, and its users' metrics beside it.

    <rows>/<dataset>-<split>/<label>.<seed>.json
    <rows>/<dataset>-<split>/<label>.<seed>.npz     test Recall@20 and NDCG@20 per user, for comparisons in pairs

Nothing in them names a place of the machine.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from training.config import ConfigError, model_settings, protocol_of
from training.data.splits import DRAWN_BY_SEED
from training.errors import TrainingError
from training.evaluation.per_user import OVERALL, Groups
from training.evaluation.protocol import AMONG_COLD, UserMetrics
from training.models.registry import recipe_for

METRICS = ("recall@20", "ndcg@20")
GROUPS = (OVERALL, "tail", "cold", AMONG_COLD, "warm", "missing-modality")
"""Whose users' metrics are kept."""


class ResultsError(TrainingError):
    """Rows that cannot be read, or that do not go together."""


class Row(BaseModel):
    """What one run, with one seed, gave."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    label: str
    """What the tables call it; the rows of one label differ in nothing but the seed."""
    tables: tuple[str, ...]
    """The tables it stands in."""
    place: int | None = None
    """Position in its tables; those without one follow, best first."""
    model: str
    """Name out of `magnet-train models`."""
    dataset: str
    """Name of the dataset directory."""
    data: dict[str, JsonValue]
    """Counts of users, items, interactions and content."""
    split: str
    """The rule that was used, also where the configuration says `auto`."""
    test_digest: str | None = None
    """Of who is asked for what in the test; None where an older version evaluated."""
    seed: int
    """Of split and training."""
    config: dict[str, JsonValue]
    """The complete configuration with every setting of the model; neither `data` nor `features`."""
    made_features: bool
    """Content features come from the encoders, or the dataset has its own: a rerun needs no `--features`."""
    machine: dict[str, str]
    """What it ran on."""
    seconds: float
    """Fitting and selection, without evaluation and export."""
    seconds_per_epoch: float
    """Of the measured model."""
    epochs: float
    """Passes over the training positives; 0 for closed forms."""
    peak_memory_mb: float
    """Of the whole process."""
    snapshot_mb: float | None = None
    """Bytes of the published snapshot; None where the run published none."""
    stage_switch_epoch: float | None = None
    """When routing went over to its second stage."""
    valid: dict[str, float]
    """Means over users, and catalogue statistics."""
    test: dict[str, float]
    """The same of the test part."""
    strata: dict[str, dict[str, float]]
    """Of the test, by stratum."""
    training: dict[str, JsonValue]
    """What the model says about its training."""
    routing: dict[str, float]
    """What the router logged last: entropies, effective experts, smallest and largest load."""
    served: dict[str, JsonValue]
    """Candidate recall, routed share of the score's variance, use of terms; empty without a snapshot."""
    explanation: dict[str, JsonValue]
    """What was measured about explanations."""
    facts: dict[str, float] = {}
    """Figures measured elsewhere, latency for example."""
    remark: str = ""
    """What a reader has to know before comparing it, printed below its tables; a run in its place has its own."""

    @property
    def folder(self) -> str:
        """Rows of one folder are comparable."""
        return slug(f"{self.dataset} {self.protocol}")

    @property
    def protocol(self) -> str:
        """The split, what the test knows beside the training part, and what is known of items."""
        masked = float(str(self.config.get("mask_features") or 0))
        known = protocol_of(self.split, joined=bool(self.config.get("join_valid")))
        return known + (f", {masked:.0%} of content masked" if masked else "")

    @property
    def stem(self) -> str:
        """File name without suffix."""
        return f"{slug(self.label)}.{self.seed}"


def slug(text: str) -> str:
    """A file name of lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "row"


def save_row(rows: Path, row: Row, groups: Groups) -> Path:
    """Write the row, in place of an earlier run of the same label and seed; returns the JSON file.

    Tables, place and facts of the earlier one are kept where the new one does not say otherwise.

    Raises:
        ResultsError: a row of another label has that file.

    """
    path = rows / row.folder / f"{row.stem}.json"
    if path.exists():
        before = read_row(path)
        if before.label != row.label:
            raise ResultsError(f"{path} is the row of {before.label!r}: choose another label than {row.label!r}")
        row = row.model_copy(
            update={
                "tables": tuple(sorted({*before.tables, *row.tables})),
                "place": before.place if row.place is None else row.place,
                "facts": {**before.facts, **row.facts},
            }
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(row.model_dump_json(indent=1) + "\n", encoding="utf-8")
    _save_groups(path.with_suffix(".npz"), groups)
    return path


def read_row(path: Path) -> Row:
    """One row.

    Raises:
        ResultsError: the file is damaged or of another form.

    """
    try:
        return Row.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        raise ResultsError(f"expected a row of the results in {path}: {error}") from error


def completed(row: Row) -> dict[str, Any]:
    """The configuration with the defaults of settings that came after the row, unless one of its own is gone."""
    try:
        settings: Any = row.config.get("settings", {})
        known = model_settings(recipe_for(row.model).config_type, settings)
    except ConfigError:
        return dict(row.config)
    return {**row.config, "settings": known.model_dump(mode="json")}


def read_rows(rows: Path) -> list[tuple[Path, Row]]:
    """All rows below the folder, by file name.

    Raises:
        ResultsError: a row is damaged, lies elsewhere than it belongs, differs from its label's in more than a seed, or
            has another test than its folder's.

    """
    found = [(path, read_row(path)) for path in sorted(rows.glob("*/*.json")) if path.stem != "significance"]
    configs: dict[tuple[str, str], Mapping[str, Any]] = {}
    tests: dict[tuple[str, int | None], tuple[Path, str]] = {}
    for path, row in found:
        if (path.parent.name, path.stem) != (row.folder, row.stem):
            raise ResultsError(f"expected {row.folder}/{row.stem}.json, found it as {path}")
        config = {name: value for name, value in completed(row).items() if name not in ("seed", "device")}
        if configs.setdefault((row.folder, row.label), config) != config:
            raise ResultsError(f"{path}: expected the settings of the other seeds of {row.label!r}, found others")
        if row.test_digest is not None:
            drawn = row.seed if row.split in DRAWN_BY_SEED else None
            first, digest = tests.setdefault((row.folder, drawn), (path, row.test_digest))
            if row.test_digest != digest:
                raise ResultsError(
                    f"expected the same test part in {first} and {path}, their interactions or items differ: fit both "
                    "on the same data with the same min_rating"
                )
    return found


def _save_groups(path: Path, groups: Groups) -> None:
    """Users as a bit mask, metrics in single precision: some 30 kB for 20,000 users."""
    arrays: dict[str, Any] = {}
    for name in kept_groups(groups):
        mask = np.zeros(int(groups[name].user_rows.max(initial=-1)) + 1, np.bool_)
        mask[groups[name].user_rows] = True
        arrays[f"{name}/users"] = np.packbits(mask)
        arrays |= {f"{name}/{metric}": groups[name].values[metric].astype(np.float32) for metric in METRICS}
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def kept_groups(groups: Iterable[str]) -> list[str]:
    """The groups whose users' metrics are committed."""
    return [name for name in GROUPS if name in groups]


def read_groups(path: Path) -> Groups:
    """The users' metrics beside the row at `path`, by group.

    Raises:
        ResultsError: there is no such file, or a damaged one.

    """
    beside, found = path.with_suffix(".npz"), {}
    try:
        with np.load(beside, allow_pickle=False) as archive:
            for name in dict.fromkeys(key.rpartition("/")[0] for key in archive.files):
                rows = np.flatnonzero(np.unpackbits(archive[f"{name}/users"])).astype(np.int64)
                values = {metric: archive[f"{name}/{metric}"].astype(np.float64) for metric in METRICS}
                found[name] = UserMetrics(rows, values)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ResultsError(f"expected the users' metrics in {beside}: {error}") from error
    return found
