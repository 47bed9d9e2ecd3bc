"""A sweep decides on validation, survives failed trials and its own end, in real processes on a tiny data set."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import optuna
import pytest
from click.testing import CliRunner

from model_store.lock import try_lock
from tests.support.tiny_dataset import tiny_dataset, write_dataset
from training.cli import main
from training.config import ConfigError, RunConfig, read_run_config, write_run_config
from training.evaluation.protocol import evaluate
from training.fit.run import Run
from training.models.ease import EaseConfig, EaseRecipe
from training.pipeline import prepare
from training.sweep import Dimension, configured, read_space, run_sweep, trial_directory

SPACE = {
    "settings.reg": Dimension(low=1.0, high=300.0, log=True),
    "split": Dimension(choices=("random", "given")),  # the data have no labels: the second one fails
}
TRIALS = 2


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    data = write_dataset(tmp_path_factory.mktemp("data") / "tiny", tiny_dataset())
    return RunConfig(data=data, model="ease", device="cpu")


def open_study(directory: Path) -> optuna.Study:
    return optuna.load_study(study_name="sweep", storage=f"sqlite:///{directory / 'study.db'}")


@pytest.fixture(scope="module")
def swept(base: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep that was cut off in its first trial, then brought to its end."""
    directory = tmp_path_factory.mktemp("sweep")
    study = optuna.create_study(study_name="sweep", storage=f"sqlite:///{directory / 'study.db'}", direction="maximize")
    study.enqueue_trial({"settings.reg": 30.0, "split": "random"})
    study.enqueue_trial({"settings.reg": 3.0, "split": "given"})
    trial = study.ask()
    values = {name: dimension.suggest(trial, name) for name, dimension in SPACE.items()}
    write_run_config(trial_directory(directory, 0) / "config.toml", configured(base, values))
    run_sweep(directory, base, SPACE, directory / "store", trials=TRIALS, jobs=2)
    return directory


def test_every_trial_ends_and_the_failed_one_says_why(swept: Path) -> None:
    trials = open_study(swept).trials
    assert len(trials) == TRIALS
    assert [trial.state.name for trial in trials] == ["COMPLETE", "FAIL"]
    assert trials[0].params == {"settings.reg": 30.0, "split": "random"}
    assert "x_label" in (trial_directory(swept, 1) / "log.txt").read_text()
    assert all(trial.state.is_finished() for trial in trials)


def test_a_trials_value_is_that_of_validation(swept: Path, base: RunConfig, tmp_path: Path) -> None:
    prepared = prepare(base, Run(tmp_path), tmp_path / "store")
    fitted = EaseRecipe().fit(prepared.dataset, prepared.split, EaseConfig(reg=30.0), Run(tmp_path))
    expected = evaluate(fitted.score_block, prepared.split, "valid").means()["recall@20"]
    assert open_study(swept).trials[0].value == pytest.approx(expected)
    assert not list(swept.glob("trials/*/metrics.json"))


def test_the_best_configuration_is_a_runs(swept: Path, base: RunConfig) -> None:
    best = read_run_config(swept / "best.toml")
    assert best == configured(base, open_study(swept).best_params)
    assert best.split == "random"


def test_a_finished_sweep_runs_nothing_again_but_reports(swept: Path, base: RunConfig) -> None:
    lines: list[str] = []
    report = run_sweep(swept, base, SPACE, swept / "store", trials=TRIALS, told=lines.append)
    assert lines == []
    assert report.complete + report.failed == TRIALS
    assert report.best_value == open_study(swept).best_value


def test_another_sweep_is_refused_in_the_same_directory(swept: Path, base: RunConfig) -> None:
    with pytest.raises(ConfigError, match="sweep"):
        run_sweep(swept, base, {"settings.reg": Dimension(low=1.0, high=2.0)}, swept / "store", trials=1)


def test_a_second_process_on_one_sweep_is_refused(swept: Path, base: RunConfig) -> None:
    held = try_lock(swept / "lock")
    assert held is not None
    try:
        with pytest.raises(ConfigError, match="another process works on this sweep"):
            run_sweep(swept, base, SPACE, swept / "store", trials=TRIALS)
    finally:
        os.close(held)


def test_a_trial_that_outlives_its_sweep_keeps_the_lock(
    base: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed: list[tuple[int, ...]] = []
    real = subprocess.run

    def run(*given: Any, pass_fds: tuple[int, ...], **options: Any) -> Any:
        passed.append(tuple(os.fstat(one).st_ino for one in pass_fds))
        return real(*given, pass_fds=pass_fds, **options)

    monkeypatch.setattr(subprocess, "run", run)
    run_sweep(tmp_path, base, {"settings.reg": Dimension(low=1.0, high=2.0)}, tmp_path / "store", trials=1)
    assert passed == [((tmp_path / "lock").stat().st_ino,)]


def test_a_setting_in_the_config_is_what_was_drawn(base: RunConfig) -> None:
    found = configured(base, {"settings.reg": 2.5, "settings.content": True, "model": "vbpr"})
    assert json.loads(json.dumps(found.settings)) == {"reg": 2.5, "content": True}
    assert found.model == "vbpr"


@pytest.mark.parametrize(
    "values",
    [{}, {"low": 1}, {"low": 2, "high": 1}, {"low": 0, "high": 1, "log": True}, {"choices": [1], "low": 0, "high": 1}],
)
def test_a_dimension_has_one_form(values: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    path.write_text('["settings.reg"]\n' + "\n".join(lines) + "\n")
    with pytest.raises(ConfigError, match=r"space\.toml"):
        read_space(path)


LOW_AND_HIGH = "low = 0.001\nhigh = 0.01\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f'["learning_rate"]\n{LOW_AND_HIGH}', r'"settings\.learning_rate".*found \["learning_rate"\]'),
        (f"[learning_rate]\n{LOW_AND_HIGH}", r'"settings\.learning_rate".*found \["learning_rate"\]'),
        ('["settings.reg"]\nlow = 0.001\n', r"settings\.reg: expected either `choices` or .*, found low"),
        ('["settings.reg"]\nhigh = 1\nlog = true\n', r"settings\.reg: expected either .*, found high, log"),
        ('["settings.reg"]\n', r"settings\.reg: expected either `choices` or .*, found nothing"),
        ('"settings.reg" = 3\n', r"settings\.reg: "),
        (f"[settings.reg]\n{LOW_AND_HIGH}", r'\["settings\.reg"\].* in quotes, found \[settings\.reg\]'),
        (f"[settings.base.lr]\n{LOW_AND_HIGH}", r'\["settings\.base\.lr"\].*found \[settings\.base\.lr\]'),
        (f'["settings.nope"]\n{LOW_AND_HIGH}', r"settings\.nope: "),
        ('["settings"]\nchoices = [1]\n', r"setting settings: "),
        ('["seed"]\nchoices = ["a"]\n', r"setting seed: "),
    ],
)
def test_a_space_that_names_no_setting_is_told_in_one_line(
    base: RunConfig, text: str, said: str, tmp_path: Path
) -> None:
    space, out = tmp_path / "space.toml", tmp_path / "sweep"
    space.write_text(text)
    arguments = ["sweep", "--data", str(base.data), "--model", "ease", "--space", str(space), "--out", str(out)]
    answer = CliRunner().invoke(main, arguments)
    assert answer.exit_code == 2, answer.exception
    assert re.search(rf"space\.toml: .*{said}", answer.stderr), answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1
    assert "pydantic" not in answer.stderr
    assert not out.exists()


def test_any_seed_of_a_run_is_one_of_a_sweep(base: RunConfig, swept: Path, tmp_path: Path) -> None:
    (tmp_path / "study.db").write_bytes((swept / "study.db").read_bytes())
    last = base.model_copy(update={"seed": 2**32 - 1})
    assert run_sweep(tmp_path, last, SPACE, tmp_path / "store", trials=TRIALS).complete


def test_integers_stay_integers(tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.write_text('["settings.layers"]\nlow = 1\nhigh = 3\n\n["settings.reg"]\nlow = 1e-4\nhigh = 1.0\nlog = true\n')
    space = read_space(path)
    trial = optuna.trial.FixedTrial({"settings.layers": 2, "settings.reg": 0.5})
    values = {name: dimension.suggest(trial, name) for name, dimension in space.items()}  # type: ignore[arg-type]
    assert values == {"settings.layers": 2, "settings.reg": 0.5}
    assert isinstance(values["settings.layers"], int)


def test_the_command_searches_and_says_which_metrics_there_are(base: RunConfig, tmp_path: Path) -> None:
    space, out = tmp_path / "space.toml", tmp_path / "sweep"
    space.write_text('["settings.reg"]\nchoices = [30.0]\n')
    arguments = ["sweep", "--data", str(base.data), "--model", "ease", "--space", str(space), "--out", str(out)]
    refused = CliRunner().invoke(main, [*arguments, "--metric", "recall@7"])
    assert refused.exit_code == 2
    assert "recall@10" in refused.stderr
    assert not out.exists()
    answer = CliRunner().invoke(main, [*arguments, "--trials", "1", "--metric", "ndcg@10"])
    assert answer.exit_code == 0, answer.output
    best = read_run_config(Path(answer.stdout.strip()))
    assert best.settings == {"reg": 30.0}
    measured = json.loads((trial_directory(out, 0) / "valid.json").read_text())
    assert open_study(out).best_value == measured["ndcg@10"]
