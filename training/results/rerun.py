"""The command line that gives a row again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from training.config import ConfigError, RunConfig, model_settings
from training.models.registry import recipe_for
from training.results.row import ResultsError, Row

OPTIONS = {"min_rating"}
"""Beside those that are always given, what has an option of its own; everything else is a `--set`."""
ALWAYS = {"model", "split", "seed"}
FLAGS = ("amp", "refit")
ELSEWHERE = {"device"}
"""What does not decide what a run gives."""


def rerun(row: Row) -> str:
    """`magnet-train run …`: what differs from today's defaults, so that the line gives the row's settings today.

    `DATA` stands for the directory of the datasets.

    Raises:
        ResultsError: the row has a setting that does not exist any more.

    """
    config = dict(row.config)
    settings: Any = config.pop("settings", {})
    defaults = RunConfig(data=Path("DATA"), model=row.model).model_dump(mode="json")
    words = ["magnet-train", "run", "--data", f"DATA/{row.dataset}"]
    words += ["--model", row.model, "--split", row.split, "--seed", str(row.seed)]
    if not row.made_features:
        words += ["--features", "FEATURES"]
    for name, value in config.items():
        if name in ALWAYS or name in ELSEWHERE or value == defaults.get(name):
            continue
        if name in FLAGS:
            words.append(f"--{'' if value else 'no-'}{name}")
        elif name in OPTIONS:
            words += [f"--{name.replace('_', '-')}", str(value)]
        else:
            words += ["--set", f"{name}={json.dumps(value)}"]
    if not row.served:
        words.append("--no-export")
    try:
        complete = model_settings(recipe_for(row.model).config_type, settings).model_dump(mode="json")
    except ConfigError as error:
        raise ResultsError(f"{row.folder}/{row.stem}.json: run it again, its settings are gone: {error}") from error
    standard = model_settings(recipe_for(row.model).config_type, {}).model_dump(mode="json")
    for name, value in changed(complete, standard):
        words += ["--set", f"settings.{name}={json.dumps(value)}"]
    return shlex.join(words)


def changed(values: Mapping[str, Any], standard: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Dotted names and values of what differs from `standard`."""
    for name, value in values.items():
        usual = standard.get(name)
        if isinstance(value, Mapping) and isinstance(usual, Mapping):
            yield from ((f"{name}.{inner}", found) for inner, found in changed(value, usual))
        elif value != usual and value is not None:
            yield name, value
