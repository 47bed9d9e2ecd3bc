"""MMRec's and RecBole's YAML files read as a run's configuration; what has no counterpart here is named.

Both put everything into one flat name space, later files over earlier ones (overall, data set, model). Values that
MMRec lists for its grid (`hyper_parameters`) become the space of a sweep.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from training.config import ConfigError
from training.foreign_names import EIGHT_ONE_ONE, LISTS, MODELS, OF_MODEL, SAME_HERE, SETTINGS
from training.models.registry import RECIPES, recipe_for

FLOAT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")
"""YAML 1.1 takes `1e-3` for a text; both programs mean the number."""


@dataclass
class Imported:
    """A run's configuration and a sweep's space, as their TOML files have them, and what was not taken over."""

    config: dict[str, Any] = field(default_factory=dict)
    space: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_yaml(path: Path) -> dict[str, Any]:
    """One file.

    Raises:
        ConfigError: no YAML, or no mapping of names to values.

    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"expected a YAML file at {path}: {error}") from error
    if content is None:  # empty, or comments alone
        return {}
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise ConfigError(f"{path}: expected names with values, found {type(content).__name__}")
    return {name: _numbers(value) for name, value in content.items()}


def import_config(files: Sequence[Path], *, model: str | None = None, data: Path | None = None) -> Imported:
    """What the files say, in this trainer's terms.

    Args:
        files: by rising precedence; without a model in them, the last one's name is it (`model/FREEDOM.yaml`).
        model: name of theirs or ours, over the files'.
        data: dataset directory, over the files'.

    Raises:
        ConfigError: a file is not readable, or the model is not one of ours.

    """
    given: dict[str, Any] = {}
    grid: set[str] = set()
    for path in files:
        read = read_yaml(path)
        grid.update(read.pop("hyper_parameters", None) or [])
        given |= read
    theirs = str(model or given.pop("model", None) or files[-1].stem)
    given.pop("model", None)
    name = MODELS.get(theirs.lower(), theirs.lower())
    if name not in RECIPES:
        raise ConfigError(f"expected a model out of {', '.join(RECIPES)}, found {theirs!r}; name one with --model")
    found = Imported({"model": name})
    searched = {key for key in grid if isinstance(given.get(key), list)}
    _of_the_run(given, data, found)
    _settings(given, name, searched, found)
    if given:
        found.notes.append(f"no counterpart here: {', '.join(sorted(given))}")
    return found


def _of_the_run(given: dict[str, Any], data: Path | None, found: Imported) -> None:
    """Data, seed, device, split, ratings; takes what it understands out of `given`."""
    folder, dataset = given.pop("data_path", None), given.pop("dataset", None)
    if data is None and dataset is not None:
        data = Path(folder or "") / str(dataset)
    if data is not None:
        found.config["data"] = str(data)
    seeds = given.pop("seed", None)
    seeds = seeds if isinstance(seeds, list) else [] if seeds is None else [seeds]
    found.config |= {"seed": seeds[0]} if seeds else {}
    if len(seeds) > 1:
        found.notes.append(f"seed: one per run, {seeds[0]} taken out of {', '.join(map(str, seeds))}")
    if given.pop("use_gpu", True) is False:
        found.config["device"] = "cpu"
    given.pop("gpu_id", None)
    label, args = given.pop("inter_splitting_label", None), given.pop("eval_args", None)
    if label == "x_label":
        found.config["split"] = "given"
    elif label is not None:
        found.notes.append(f"inter_splitting_label: the column is called x_label here, not {label}")
    if isinstance(args, Mapping):
        _split(args, found)
    for key in ("val_interval", "threshold"):
        limits = given.get(key)
        if (
            isinstance(limits, Mapping)
            and list(limits) == ["rating"]
            and (low := _lowest(limits["rating"])) is not None
        ):
            found.config["min_rating"] = low
            del given[key]
    if isinstance(args, Mapping) and "min_rating" not in found.config:
        found.notes.append("ratings: those below 70 % of the highest do not count; with min_rating = 0 they do")


def _split(args: Mapping[str, Any], found: Imported) -> None:
    """RecBole's `eval_args`: random or by time, by share or the last ones."""
    rule, ordered = args.get("split") or {}, args.get("order", "RO") == "TO"
    by_user = args.get("group_by", "user") == "user"  # as in RecBole, which fills it in
    if "LS" in rule and ordered and rule["LS"] == "valid_and_test":
        found.config["split"] = "leave-last"
    elif "RS" in rule and not ordered and by_user:
        found.config["split"] = "random"
    elif "RS" in rule and ordered and not by_user:
        found.config["split"] = "global-time"
    else:
        found.notes.append(f"eval_args: no such split here, found {dict(args)}")
    if "RS" in rule and not _eight_one_one(rule["RS"]):
        found.notes.append(f"eval_args: the shares are 8:1:1 here, found {rule['RS']}")
    if str(args.get("mode", "full")) != "full":
        found.notes.append(f"eval_args: ranking is full here, never sampled, found mode {args['mode']}")


def _eight_one_one(shares: Any) -> bool:
    """Whether they are 8:1:1; RecBole divides by their sum."""
    try:
        return np.allclose([share / sum(shares) for share in shares], EIGHT_ONE_ONE)
    except (TypeError, ValueError, ZeroDivisionError):
        return False


def _settings(given: dict[str, Any], model: str, searched: set[str], found: Imported) -> None:
    """Settings of the model; takes what it understands out of `given`."""
    fields = recipe_for(model).config_type.model_fields
    names = SETTINGS | OF_MODEL.get(model, {})
    settings: dict[str, Any] = {}
    for key in list(given):
        value, target = given[key], names.get(key)
        if key in SAME_HERE and SAME_HERE[key](value):
            del given[key]
        elif target in fields:
            del given[key]
            place = f"settings.{target}"
            if (model, target) in LISTS:
                value = value if isinstance(value, list) else [value]
            taken = found.space.get(place, {}).get("choices", settings.get(str(target), value))
            if taken != value:
                found.notes.append(f"{key}: {target} is {taken} already, {value} is not taken")
            elif key in searched and (model, target) not in LISTS:  # those the fit searches itself
                found.space[place] = {"choices": value}
            else:
                settings[str(target)] = value
    if settings:
        found.config["settings"] = settings


def _lowest(limit: Any) -> float | None:
    """The lower bound of `3` or `"[3,inf)"`; None for anything else."""
    if isinstance(limit, int | float):
        return float(limit)
    interval = re.fullmatch(r"\[\s*([\d.]+)\s*,\s*inf\s*[\])]", str(limit))
    return float(interval[1]) if interval else None


def _numbers(value: Any) -> Any:
    if isinstance(value, list):
        return [_numbers(one) for one in value]
    return float(value) if isinstance(value, str) and FLOAT.fullmatch(value) else value
