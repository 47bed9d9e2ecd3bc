"""A run's complete configuration: what `config.toml` in a run directory holds, and how one is put together.

Order of precedence: `--set` over a `--config` file over the defaults of the model.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model_store.files import replace_file
from training.data.splits import SplitMethod
from training.errors import TrainingError

MOST_SEED = 2**32 - 1
"""torch takes 64 bits of what is made of a seed: times 1,000,003 per step, and times 1,000 per member."""


class RunConfig(BaseModel):
    """Everything that decides what a run does, beside the model's own settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    data: Path
    """Dataset directory."""
    features: Path | None = None
    """Directory with further feature arrays; what texts or pictures have no array yet is made here."""
    events: tuple[Path, ...] = ()
    """Files of events out of `magnet-serve export-events`, joined to the dataset's interactions."""
    model: str = "magnet"
    """Name out of `magnet-train models`."""
    split: SplitMethod = "auto"
    """given, random, leave-last, global-time, cold-items, or auto: given where there are labels, else random."""
    min_rating: float | None = None
    """Ratings from here on are positives; omitted: 70 % of the highest rating, where there are ratings and no
    given split."""
    seed: int = Field(default=0, ge=0, le=MOST_SEED)
    """Seed of the split and of everything random in training."""
    text: str = "default"
    """Text encoder for raw texts (see `magnet-train encoder import`), or none."""
    image: str = "default"
    """Image encoder for raw pictures, or none."""
    device: str = "auto"
    """cpu, cuda, or auto: cuda where there is one."""
    amp: bool = False
    """Mixed precision (bfloat16) in the base's training."""
    shuffle_features: bool = False
    """A control: give every item the content of another one."""
    without: tuple[str, ...] = ()
    """Content modalities to leave out."""
    mask_features: float = Field(default=0.0, ge=0, lt=1)
    """A condition: this share of every modality's rows goes missing, drawn by the seed."""
    join_valid: bool = False
    """Fit again with the validation positives in the histories before the test, for as long as validation chose: what
    sequential models are usually measured by, for their test asks for what comes next. Otherwise the test knows the
    training part alone [MMRec's rule]."""
    refit: bool = True
    """Fit again on all interactions before export."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """The model's settings."""


def protocol_of(split: str, *, joined: bool) -> str:
    """What figures are comparable under: the split, and whether the test knows the validation positives."""
    return split + (", validation joined" if joined else "")


class ConfigError(TrainingError):
    """A setting that does not exist or has no such value; the message names it."""


def model_settings(config_type: type[BaseModel], given: dict[str, Any]) -> BaseModel:
    """The model's configuration from what was given, defaults filled in.

    Raises:
        ConfigError: an unknown key or a value out of range.

    """
    if endless := _not_finite(given, "settings"):
        raise ConfigError(f"setting {endless}: expected a finite number")
    try:
        return config_type.model_validate(given)
    except ValidationError as error:
        raise ConfigError(problems(error, "settings")) from error


def _not_finite(value: Any, name: str) -> str | None:
    """The dotted name of the first setting that is infinite or no number: TOML and JSON would lose it."""
    if isinstance(value, Mapping):
        found = (_not_finite(below, f"{name}.{key}") for key, below in value.items())
    elif isinstance(value, list | tuple):
        found = (_not_finite(below, name) for below in value)
    else:
        return name if isinstance(value, float) and not math.isfinite(value) else None
    return next(filter(None, found), None)


def with_overrides(settings: dict[str, Any], overrides: tuple[str, ...]) -> dict[str, Any]:
    """`settings` with `KEY.SUBKEY=VALUE` strings applied; values are TOML, a bare word is a string."""
    result = dict(settings)
    for override in overrides:
        path, separator, text = override.partition("=")
        if not separator or not path:
            raise ConfigError(f"expected --set KEY=VALUE, found {override!r}")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        *parents, leaf = path.split(".")
        level = result
        for parent in parents:
            inner = level.get(parent, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"expected a table of settings at {parent!r} in --set {override}, it is a value")
            level[parent] = dict(inner)
            level = level[parent]
        level[leaf] = value
    return result


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file's content.

    Raises:
        ConfigError: not there, or not TOML.

    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"expected a TOML file at {path}: {error}") from error


def put_together(config_file: Path | None, overrides: tuple[str, ...], given: dict[str, Any]) -> RunConfig:
    """A run's configuration from a file, the options that were given (None: not given) and `--set` overrides.

    Raises:
        ConfigError: there is no dataset, or a setting of the run does not exist.

    """
    values = read_toml(config_file) if config_file else {}
    values |= {name: value for name, value in given.items() if value is not None}
    values = with_overrides(values, overrides)
    if "data" not in values:
        raise ConfigError("expected a dataset directory: give --data DIR")
    try:
        return _located(RunConfig.model_validate(values))
    except ValidationError as error:
        raise ConfigError(problems(error)) from error


def _located(config: RunConfig) -> RunConfig:
    """The configuration with whole paths: a run may be gone on with from another directory."""
    return config.model_copy(
        update={
            "data": config.data.resolve(),
            "features": config.features and config.features.resolve(),
            "events": tuple(path.resolve() for path in config.events),
        }
    )


def check_unchanged(
    stored: RunConfig, config_file: Path | None, overrides: tuple[str, ...], given: dict[str, Any]
) -> None:
    """Refuse settings that would change a run that is gone on with.

    Raises:
        ConfigError: names the settings that differ.

    """
    before = _located(stored).model_dump(mode="json")
    asked = _merged(before, read_toml(config_file) if config_file else {})
    asked = _merged(asked, {name: value for name, value in given.items() if value is not None})
    after = put_together(None, overrides, asked).model_dump(mode="json")
    if differing := [name for name in before if after[name] != before[name]]:
        raise ConfigError(f"expected the settings that the run began with, found others for {', '.join(differing)}")


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`base` with what `over` has in its place, table by table."""
    tables = {name for name, value in over.items() if isinstance(value, dict) and isinstance(base.get(name), dict)}
    return {**base, **over, **{name: _merged(base[name], over[name]) for name in tables}}


def read_run_config(path: Path) -> RunConfig:
    """A run's `config.toml`.

    Raises:
        ConfigError: not there, or not a run's configuration.

    """
    try:
        return RunConfig.model_validate(read_toml(path))
    except ValidationError as error:
        raise ConfigError(f"{path}: {problems(error)}") from error


def write_run_config(path: Path, config: RunConfig) -> None:
    """Write `config.toml`, whole or not at all; what is None is left out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, tomli_w.dumps(config.model_dump(mode="json", exclude_none=True)).encode())


def problems(error: ValidationError, *above: str) -> str:
    """Each problem with the setting's name as `--set` takes it."""
    return "; ".join(
        f"setting {'.'.join(map(str, (*above, *problem['loc'])))}: {problem['msg'].removeprefix('Value error, ')}"
        for problem in error.errors()
    )
