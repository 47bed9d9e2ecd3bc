"""A sweep over settings: Optuna proposes, one process per trial fits, validation alone decides.

    OUT/sweep.toml       the base configuration and the space; a resumed sweep has to match it
    OUT/study.db         Optuna's study (SQLite); only the parent writes
    OUT/trials/0000/     a run directory: config.toml, checkpoints, history.jsonl, valid.json, log.txt
    OUT/best.toml        the configuration of the best trial so far, for `magnet-train run --config`

A trial that fails (an error, or killed) is recorded as failed and counts; one that the parent's end cut off goes on
from its checkpoints. No trial is given the test part.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import tomli_w
from optuna.trial import TrialState
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from model_store.files import replace_file
from model_store.lock import try_lock
from training.config import ConfigError, RunConfig, problems, read_toml, with_overrides, write_run_config
from training.errors import TrainingError

RESULT = "valid.json"
LOCK = "lock"
LOG = "log.txt"


class Dimension(BaseModel):
    """One setting's values: `choices`, or everything from `low` to `high` (integers where both are)."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    low: int | float | None = None
    """Smallest value."""
    high: int | float | None = None
    """Largest value."""
    log: bool = False
    """Draw on a logarithmic scale."""
    choices: tuple[bool | int | float | str, ...] = Field(default=())
    """The values themselves."""

    @model_validator(mode="after")
    def _one_form(self) -> Dimension:
        ranged = self.low is not None and self.high is not None
        if ranged == bool(self.choices) or (self.choices and self.log):
            found = ", ".join(sorted(self.model_fields_set)) or "nothing"
            raise ValueError(f"expected either `choices` or `low` and `high` (and `log`), found {found}")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"expected low ≤ high, found {self.low} and {self.high}")
        if self.log and self.low is not None and self.low <= 0:
            raise ValueError("expected low > 0 on a logarithmic scale")
        return self

    def suggest(self, trial: optuna.Trial, name: str) -> Any:
        """The trial's value of the setting `name`."""
        if self.choices:
            return trial.suggest_categorical(name, list(self.choices))
        assert self.low is not None
        assert self.high is not None
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(name, self.low, self.high, log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)


Space = Mapping[str, Dimension]


def read_space(path: Path) -> dict[str, Dimension]:
    """A TOML file with a table per setting, named as for `--set`: `["settings.learning_rate"]`, then `low = …`.

    Raises:
        ConfigError: no such file, or a table that names no setting or is no dimension.

    """
    space = {}
    for name, values in read_toml(path).items():
        if name.partition(".")[0] not in RunConfig.model_fields:
            problem = f'a table per setting, named as for --set, like ["settings.learning_rate"], found ["{name}"]'
            raise ConfigError(f"{path}: expected {problem}")
        if (dotted := _innermost(name, values)) != name:
            raise ConfigError(f'{path}: expected ["{dotted}"], the name in quotes, found [{dotted}]')
        try:
            space[name] = Dimension.model_validate(values)
        except ValidationError as error:
            raise ConfigError(f"{path}: {problems(error, name)}") from error
    if not space:
        raise ConfigError(f"{path}: expected at least one table of a setting, found none")
    return space


def _innermost(name: str, values: Any) -> str:
    """The dotted name of the first table without a table in it."""
    tables = [key for key, value in values.items() if isinstance(value, dict)] if isinstance(values, dict) else []
    return _innermost(f"{name}.{tables[0]}", values[tables[0]]) if tables else name


@dataclass(frozen=True)
class SweepReport:
    """How a sweep stands."""

    best: RunConfig | None
    best_value: float | None
    best_trial: int | None
    complete: int
    failed: int


def run_sweep(
    directory: Path,
    base: RunConfig,
    space: Space,
    store: Path,
    *,
    trials: int,
    jobs: int = 1,
    metric: str = "recall@20",
    told: Callable[[str], None] = lambda line: None,
) -> SweepReport:
    """Bring the sweep in `directory` to `trials` finished trials.

    Args:
        directory: new, or that of the same sweep.
        base: everything that is not searched.
        space: what is.
        store: where encoders are.
        trials: finished trials, failed ones included, to reach.
        jobs: trials at once.
        metric: of the validation part, to be maximised.
        told: hears a line per finished trial.

    Raises:
        ConfigError: the directory holds another sweep, another process works on it, or the space
            does not fit the configuration.

    """
    _agree(directory, base, space, metric)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name="sweep",
        storage=f"sqlite:///{(directory / 'study.db').resolve()}",
        direction="maximize",
        load_if_exists=True,
    )
    # what was drawn before must not be drawn again by a sampler that starts anew; its seed has 32 bits
    seed = (base.seed + len(study.trials)) % 2**32
    study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=jobs > 1)
    with _alone(directory) as lock, ThreadPoolExecutor(jobs) as pool:
        cut_off = [trial.number for trial in study.trials if trial.state == TrialState.RUNNING]
        waiting: dict[Future[float], int] = {}

        def submit(number: int) -> None:
            waiting[pool.submit(_run_trial, trial_directory(directory, number), store, metric, jobs, lock)] = number

        for number in cut_off:
            submit(number)
        while True:
            while len(waiting) < jobs and _finished(study) + len(waiting) < trials:
                trial = study.ask()
                values = {name: dimension.suggest(trial, name) for name, dimension in space.items()}
                _write_trial(trial_directory(directory, trial.number), base, values)
                submit(trial.number)
            if not waiting:
                break
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                number = waiting.pop(future)
                _tell(study, number, future, metric, told)
    return _report(study, directory, base)


def trial_directory(directory: Path, number: int) -> Path:
    """Where a trial runs."""
    return directory / "trials" / f"{number:04d}"


def _agree(directory: Path, base: RunConfig, space: Space, metric: str) -> None:
    """Write `sweep.toml`, or hold an existing one against this sweep; the space has to name settings that exist."""
    path = directory / "sweep.toml"
    content = tomli_w.dumps(
        {
            "metric": metric,
            "base": base.model_dump(mode="json", exclude_none=True),
            "space": {
                name: dimension.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
                for name, dimension in space.items()
            },
        }
    )
    if path.exists() and tomllib.loads(path.read_text(encoding="utf-8")) != tomllib.loads(content):
        raise ConfigError(f"expected the sweep of {path} again, found another configuration or space")
    directory.mkdir(parents=True, exist_ok=True)
    replace_file(path, content.encode())


def _write_trial(directory: Path, base: RunConfig, values: Mapping[str, Any]) -> None:
    write_run_config(directory / "config.toml", configured(base, values))


def configured(base: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    """`base` with the settings of one trial.

    Raises:
        ConfigError: a setting that does not exist, or has no such value.

    """
    overrides = tuple(f"{name}={json.dumps(value)}" for name, value in values.items())
    try:
        return RunConfig.model_validate(with_overrides(base.model_dump(), overrides))
    except ValidationError as error:
        raise ConfigError(problems(error)) from error


@contextmanager
def _alone(directory: Path) -> Iterator[int]:
    """Hold the sweep's lock; its descriptor goes to the trials too, which may outlive a sweep that is killed."""
    lock = try_lock(directory / LOCK)
    if lock is None:
        raise ConfigError(
            f"{directory}: another process works on this sweep, or a trial of one that was killed still runs"
        )
    try:
        yield lock
    finally:
        os.close(lock)


def _run_trial(directory: Path, store: Path, metric: str, jobs: int, lock: int) -> float:
    """One trial in a process of its own; its validation metric.

    Raises:
        TrainingError: it ended otherwise; the message is the last line that it said.

    """
    result = directory / RESULT
    if not result.exists():
        threads = str(max(1, (os.cpu_count() or 1) // jobs))
        command = [sys.executable, "-m", "training.sweep_trial", str(directory), str(store)]
        environment = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads} | os.environ
        with (directory / LOG).open("a", encoding="utf-8") as log:
            trial = subprocess.run(
                command, stdout=log, stderr=subprocess.STDOUT, env=environment, pass_fds=(lock,), check=False
            )
        if trial.returncode:
            said = (directory / LOG).read_text(encoding="utf-8").strip().splitlines()
            raise TrainingError(f"exit code {trial.returncode}: {said[-1] if said else 'no output'}")
    return float(json.loads(result.read_text(encoding="utf-8"))[metric])


def _finished(study: optuna.Study) -> int:
    return sum(trial.state.is_finished() for trial in study.trials)


def _tell(study: optuna.Study, number: int, future: Future[float], metric: str, told: Callable[[str], None]) -> None:
    try:
        value = future.result()
    except (TrainingError, OSError, ValueError, KeyError) as error:
        study.tell(number, state=TrialState.FAIL)
        told(f"trial {number:04d} failed: {error}")
        return
    study.tell(number, value)
    told(f"trial {number:04d}: {metric} {value:.4f}")


def _report(study: optuna.Study, directory: Path, base: RunConfig) -> SweepReport:
    complete = study.get_trials(states=(TrialState.COMPLETE,))
    failed = len(study.get_trials(states=(TrialState.FAIL,)))
    if not complete:
        return SweepReport(None, None, None, 0, failed)
    best = configured(base, study.best_params)
    write_run_config(directory / "best.toml", best)
    return SweepReport(best, study.best_value, study.best_trial.number, len(complete), failed)
