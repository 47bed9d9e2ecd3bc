"""Runs compared in pairs: which model is better, by how much, how surely, and for whom.

Runs of one configuration with different seeds are one model; a user's metric is averaged over them first, because users
are what is resampled. The first model is compared with every other one; Holm's correction runs over all comparisons of
the table, whatever their metric and group.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.config import RunConfig, protocol_of, read_run_config
from training.data.splits import DRAWN_BY_SEED
from training.errors import TrainingError
from training.evaluation.per_user import OVERALL, Groups, load_per_user
from training.evaluation.protocol import UserMetrics
from training.evaluation.significance import PairedDifference, holm, paired_bootstrap

LEVEL = 0.05
OF_CONTENT = "missing-modality"
"""The group whose items are in it for their content, which runs on one test may have differently."""


@dataclass(frozen=True)
class FinishedRun:
    """A run directory that was evaluated."""

    directory: Path
    config: RunConfig
    split: str
    """The rule that was used, where the configuration says `auto`."""
    parts: dict[str, Groups]
    test: str | None = None
    """The digest of the test part; None where an older version evaluated."""

    @property
    def protocol(self) -> str:
        """The split, and what the test knows beside the training part."""
        return protocol_of(self.split, joined=self.config.join_valid)


@dataclass(frozen=True)
class ComparedModel:
    """Runs of one configuration, by rising seed."""

    label: str
    runs: tuple[FinishedRun, ...]

    def values(self, part: str, group: str, metric: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """User rows (n,) of whoever is in the group under any seed, and the metric by seed (S, n).

        Where the seed draws the split, it also draws who has a positive in the group: NaN where a user has none.

        Raises:
            TrainingError: a run lacks the group or metric.

        """
        found = [self._metrics(run, part, group) for run in self.runs]
        rows = self.users(part, group)
        values = np.full((len(found), len(rows)), np.nan)
        for run, metrics, row in zip(self.runs, found, values, strict=True):
            if metric not in metrics.values:
                raise TrainingError(f"{run.directory}: expected a metric out of {sorted(metrics.values)}: {metric!r}")
            row[np.searchsorted(rows, metrics.user_rows)] = metrics.values[metric]
        return rows, values

    def per_user(self, part: str, group: str, metric: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """User rows (n,) and the metric (n,), averaged over the seeds under which the user is in the group."""
        rows, values = self.values(part, group, metric)
        return rows, np.nanmean(values, axis=0)

    def users(self, part: str, group: str) -> NDArray[np.int64]:
        """Rows (n,) of whoever is in the group under any seed."""
        return np.unique(np.concatenate([self._metrics(run, part, group).user_rows for run in self.runs]))

    def has(self, part: str, group: str) -> bool:
        """Whether every run has users in the group."""
        return all(group in run.parts.get(part, {}) for run in self.runs)

    def _metrics(self, run: FinishedRun, part: str, group: str) -> UserMetrics:
        if group not in run.parts.get(part, {}):
            raise TrainingError(f"{run.directory}: expected the group {group!r} in part {part!r}, found none")
        return run.parts[part][group]


@dataclass(frozen=True)
class Difference:
    """Ours minus theirs in one group and metric."""

    other: str
    group: str
    metric: str
    paired: PairedDifference
    adjusted: float
    """The p-value after Holm's correction."""

    @property
    def verdict(self) -> str:
        """`better`, `worse`, or that nothing is shown."""
        if self.adjusted >= LEVEL:
            return "not shown"
        return "better" if self.paired.mean > 0 else "worse"


def read_runs(directories: Sequence[Path]) -> list[ComparedModel]:
    """Group run directories into models, in the order given; a label is the model's name, or the first run's folder.

    Raises:
        TrainingError: a directory is no evaluated run, or the runs are of different data or splits.

    """
    runs = [_read(directory) for directory in directories]
    first = runs[0]
    for run in runs:
        said = run.test is not None and first.test is not None  # then `_check_same_test` knows better
        same_positives = said or run.config.min_rating == first.config.min_rating
        if (run.config.data.name, run.protocol) != (first.config.data.name, first.protocol) or not same_positives:
            raise TrainingError(
                f"expected runs on {_condition(first)} like {first.directory}, {run.directory} is on {_condition(run)}"
            )
    _check_same_test(runs)
    groups: dict[str, list[FinishedRun]] = {}
    for run in runs:
        groups.setdefault(_configuration(run.config), []).append(run)
    names = [group[0].config.model for group in groups.values()]
    folders = [group[0].directory.name for group in groups.values()]
    labels = list(zip(names, folders, strict=True))
    models = []
    for (name, folder), group in zip(labels, groups.values(), strict=True):
        seeds = [run.config.seed for run in group]
        if len(set(seeds)) < len(seeds):
            raise TrainingError(
                f"expected one run per seed, found two of the same: {[str(r.directory) for r in group]}"
            )
        place = folder if labels.count((name, folder)) == 1 else group[0].directory
        label = name if names.count(name) == 1 else f"{name} ({place})"
        models.append(ComparedModel(label, tuple(sorted(group, key=lambda run: run.config.seed))))
    if first.split in DRAWN_BY_SEED:
        wanted = [run.config.seed for run in models[0].runs]
        for model in models:
            if [run.config.seed for run in model.runs] != wanted:
                raise TrainingError(
                    f"the split {first.split!r} is drawn by seed: expected seeds {wanted} of {model.label}"
                )
    return models


def _read(directory: Path) -> FinishedRun:
    path = directory / "metrics.json"
    try:
        split = json.loads(path.read_text(encoding="utf-8"))["split"]
        name, test = split["name"], split.get("test")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrainingError(f"expected an evaluated run, {path} cannot be read: {error}") from error
    return FinishedRun(directory, read_run_config(directory / "config.toml"), name, load_per_user(directory), test)


def _condition(run: FinishedRun) -> str:
    return f"{run.config.data.name!r} split by {run.protocol!r} with min_rating {run.config.min_rating}"


def _check_same_test(runs: Sequence[FinishedRun]) -> None:
    """Raise TrainingError where two runs were asked for something else; drawn by the seed, each seed has its own."""
    seen: dict[int | None, FinishedRun] = {}
    for run in runs:
        if run.test is None:
            continue
        first = seen.setdefault(run.config.seed if run.split in DRAWN_BY_SEED else None, run)
        if run.test != first.test:
            raise TrainingError(
                f"expected the same test part in {first.directory} and {run.directory}, their interactions or items "
                "differ: fit both on the same data with the same min_rating"
            )


def _configuration(config: RunConfig) -> str:
    ignored = {"seed", "data", "features", "device"}
    return json.dumps(config.model_dump(mode="json", exclude=ignored), sort_keys=True)


def same_content(ours: ComparedModel, theirs: ComparedModel, part: str) -> bool:
    """Whether `OF_CONTENT` is the same items for both, as far as runs can tell."""
    having = [model.has(part, OF_CONTENT) for model in (ours, theirs)]
    if not all(having):
        return not any(having)
    if _content(ours) != _content(theirs):
        return False
    return np.array_equal(ours.users(part, OF_CONTENT), theirs.users(part, OF_CONTENT))


def _content(model: ComparedModel) -> set[tuple[object, ...]]:
    """What decides which items lack a modality, by seed where that is drawn."""
    return {
        (
            one.features,
            one.text == "none",
            one.image == "none",
            frozenset(one.without),
            one.mask_features,
            one.shuffle_features,
            one.seed if one.mask_features or one.shuffle_features else None,
        )
        for one in (run.config for run in model.runs)
    }


def differences(
    models: Sequence[ComparedModel],
    *,
    part: str,
    metrics: Sequence[str],
    groups: Sequence[str],
    resamples: int = 10_000,
    seed: int = 0,
) -> list[Difference]:
    """The first model against every other one; left out: groups that nobody is in, and `OF_CONTENT` of other items.

    Raises:
        TrainingError: a run lacks a metric, or two models have other users in a group.

    """
    ours, found = models[0], []
    for other in models[1:]:
        for group in groups:
            if group != OVERALL and not (ours.has(part, group) and other.has(part, group)):
                continue
            if group == OF_CONTENT and not same_content(ours, other, part):
                continue
            for metric in metrics:
                rows, mine = ours.per_user(part, group, metric)
                their_rows, theirs = other.per_user(part, group, metric)
                if not np.array_equal(rows, their_rows):
                    raise TrainingError(
                        f"{ours.label} and {other.label} were evaluated on different users in the group {group!r}"
                    )
                paired = paired_bootstrap(mine, theirs, resamples=resamples, seed=seed)
                found.append((other.label, group, metric, paired))
    adjusted = holm([paired.p_value for *_, paired in found])
    return [Difference(*entry, p) for entry, p in zip(found, adjusted, strict=True)]


def means_table(models: Sequence[ComparedModel], *, part: str, metrics: Sequence[str], groups: Sequence[str]) -> str:
    """Markdown: a row per model and group, mean over users and seeds ± standard deviation over seeds."""
    lines = [
        f"| model | seeds | users | {' | '.join(metrics)} |",
        f"| --- | --- | --- |{' --- |' * len(metrics)}",
    ]
    for group in groups:
        for model in models:
            if not model.has(part, group):
                continue
            cells, users = [], 0
            for metric in metrics:
                rows, values = model.values(part, group, metric)
                per_seed, users = np.nanmean(values, axis=1), len(rows)
                spread = f" ± {per_seed.std(ddof=1):.4f}" if len(per_seed) > 1 else ""
                cells.append(f"{per_seed.mean():.4f}{spread}")
            name = model.label if group == OVERALL else f"{model.label}, {group}"
            lines.append(f"| {name} | {len(model.runs)} | {users} | {' | '.join(cells)} |")
    return "\n".join(lines)


def differences_table(ours: str, found: Sequence[Difference]) -> str:
    """Markdown: a row per comparison."""
    lines = [
        f"| {ours} against | group | metric | difference | 95 % interval | p | p (Holm) | users | {ours} is |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for entry in found:
        paired = entry.paired
        lines.append(
            f"| {entry.other} | {entry.group} | {entry.metric} | {paired.mean:+.4f} | {paired.low:+.4f} to "
            f"{paired.high:+.4f} | {paired.p_value:.4f} | {entry.adjusted:.4f} | {paired.users} | {entry.verdict} |"
        )
    return "\n".join(lines)
