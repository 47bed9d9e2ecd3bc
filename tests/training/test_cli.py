"""`magnet-train` from a dataset directory to a promoted snapshot, and what it says when something is wrong."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from click.testing import CliRunner, Result
from scipy import sparse

from model_store.scoring import scorer_for
from model_store.store import Store
from tests.support.tiny_dataset import tiny_dataset, write_dataset
from tests.support.tiny_magnet import QUICK
from training import cli, compare_command
from training.cli import main
from training.config import read_run_config
from training.data.splits import split_dataset, with_valid_in_train
from training.evaluation.protocol import evaluate
from training.fit.run import Run
from training.models.embedding.phase import TriplesPhase
from training.models.magnet.config import MagnetConfig
from training.models.magnet.material import hold_out
from training.models.registry import RECIPES

PROMISED = {
    *("valid", "test", "cold", "tail", "epochs", "seconds_per_epoch", "peak_memory_mb", "stage_switch_epoch"),
}


def magnet_train(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration file."""
    path = tmp_path_factory.mktemp("config") / "quick.toml"
    path.write_text(tomli_w.dumps({"settings": dict(QUICK), "text": "none", "image": "none"}), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "tiny", tiny_dataset())


@dataclass(frozen=True)
class Ran:
    """A whole run that nobody disturbed."""

    directory: Path
    store: Path
    result: Result
    options: list[str | Path]

    @property
    def metrics(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.directory / "metrics.json").read_text(encoding="utf-8"))
        return content

    @property
    def snapshot(self) -> str:
        return self.result.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def ran(data: Path, quick: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    root = tmp_path_factory.mktemp("ran")
    options: list[str | Path] = ["run", "--data", data, "--config", quick, "--seed", "5"]
    result = magnet_train(*options, "--out", root / "run", "--store", root / "store")
    assert result.exit_code == 0, result.output
    return Ran(root / "run", root / "store", result, options)


def measured(metrics: dict[str, Any]) -> dict[str, Any]:
    """Without what a clock or the operating system says."""
    return {name: metrics[name] for name in ("valid", "test", "cold", "tail", "strata", "epochs", "stage_switch_epoch")}


def test_a_run_publishes_and_promotes_a_snapshot_that_verifies(ran: Ran) -> None:
    store = Store(ran.store)
    assert store.current() == ran.snapshot
    snapshot = store.open(verify="hash")
    assert (snapshot.n_users, snapshot.n_items) == (60, 40)
    manifest = snapshot.manifest
    assert (manifest.model, manifest.dataset, manifest.training.seed) == ("magnet", "tiny", 5)
    assert [modality.name for modality in manifest.modalities] == ["behaviour", "textual", "visual"]
    assert len([term for term in manifest.terms if term.role != "base"]) == 9
    assert {"user_encoder.onnx", "item_encoder.onnx"} <= set(manifest.files)
    assert manifest.metrics["test"]["recall@20"] == ran.metrics["test"]["recall@20"]
    assert manifest.candidates.recall["recall@20"] is not None
    assert manifest.routed_variance_share is not None
    scorer = scorer_for(snapshot)
    assert np.isfinite(scorer.score_all(scorer.known_user(0))).all()
    interactions = tiny_dataset().interactions  # after the refit, everything counts as seen
    assert set(snapshot.history(0)) == set(interactions.item_row[interactions.user_row == 0])


def test_metrics_have_the_promised_fields(ran: Ran) -> None:
    metrics = ran.metrics
    assert metrics.keys() >= PROMISED
    for part in ("valid", "test"):
        assert {f"{name}@{k}" for name in ("recall", "ndcg") for k in (5, 10, 20, 50)} <= metrics[part].keys()
        assert 0 < metrics[part]["recall@20"] <= 1
    phases, (first, continued) = metrics["training"]["phases"], steps_per_epoch()
    passes = phases["held-out-0"]["steps"] / first + phases["base-0"]["steps"] / continued
    assert metrics["epochs"] == pytest.approx(passes, abs=0.01)
    assert metrics["seconds_per_epoch"] > 0
    assert metrics["peak_memory_mb"] > 50
    assert 0 < metrics["stage_switch_epoch"] < 100
    assert metrics["training"]["stage_switch_step"] >= QUICK["entropy"]["min_steps"]


def steps_per_epoch() -> tuple[int, int]:
    """Of the first base, which a share of the training positives is held out from, and of the continued one."""
    split = split_dataset(tiny_dataset(), "random", seed=5)
    shortened, _ = hold_out(split, MagnetConfig.model_validate(QUICK).router.held_out, seed=5)
    return tuple(-(-part.train.nnz // QUICK["base"]["batch_size"]) for part in (shortened, split))


def test_the_run_directory_is_complete(ran: Ran, data: Path) -> None:
    config = read_run_config(ran.directory / "config.toml")
    assert config.data == data
    assert config.seed == 5
    assert MagnetConfig.model_validate(config.settings) == MagnetConfig.model_validate(QUICK)
    assert config.settings["base"]["temperature"] == MagnetConfig().base.temperature  # defaults are written out
    phases = {json.loads(line)["phase"] for line in (ran.directory / "history.jsonl").read_text().splitlines()}
    assert {"held-out-0", "base-0", "router"} <= phases
    assert {path.stem for path in (ran.directory / "checkpoints").iterdir()} >= {*phases, "refit-0"}
    assert list((ran.directory / "tensorboard").iterdir())


def test_evaluate_writes_damaged_figures_again(ran: Ran, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(ran.directory, copy)
    (copy / "metrics.json").write_text('{"valid": {')
    result = magnet_train("evaluate", copy, "--store", ran.store)
    assert result.exit_code == 0, result.output
    assert json.loads((copy / "metrics.json").read_text())["test"] == ran.metrics["test"]


def test_evaluate_says_the_same_again_and_publishes_nothing(ran: Ran) -> None:
    before, stored = ran.metrics, Store(ran.store).snapshots()
    result = magnet_train("evaluate", ran.directory, "--store", ran.store)
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert measured(ran.metrics) == measured(before)
    assert Store(ran.store).snapshots() == stored
    for name in ("explanation", "served"):  # of the export, which was not repeated
        assert ran.metrics[name] == before[name]


def test_export_publishes_the_same_content_and_promotes_only_on_request(ran: Ran, tmp_path: Path) -> None:
    result = magnet_train("export", ran.directory, "--store", tmp_path)
    assert result.exit_code == 0, result.output
    assert result.stdout.split() == [ran.snapshot]
    assert Store(tmp_path).current() is None
    Store(tmp_path).verify(ran.snapshot)


@pytest.mark.parametrize("modalities", [[], ["visual"], ["items", "price.v2", "visual"]], ids=",".join)
def test_datasets_with_other_content_run(modalities: list[str], quick: Path, tmp_path: Path) -> None:
    directory = write_dataset(tmp_path / "data", tiny_dataset(modalities))
    result = magnet_train(
        *("run", "--data", directory, "--config", quick, "--out", tmp_path / "run", "--store", tmp_path / "store")
    )
    assert result.exit_code == 0, result.output
    snapshot = Store(tmp_path / "store").open()
    assert [modality.name for modality in snapshot.manifest.modalities] == ["behaviour", *modalities]
    assert ("item_encoder.onnx" in snapshot.manifest.files) == bool(modalities)
    scorer = scorer_for(snapshot)
    assert np.isfinite(scorer.score_all(scorer.known_user(3))).all()


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)


def test_ctrl_c_writes_a_checkpoint_and_the_resumed_run_is_the_same_run(ran: Ran, tmp_path: Path) -> None:
    options = [*ran.options, "--out", tmp_path / "run", "--store", tmp_path / "store"]
    command = [sys.executable, "-m", "training.cli", *map(str, options)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
    wait_for(tmp_path / "run" / "checkpoints" / "held-out-0.pt", process)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    assert stdout == ""
    assert "Traceback" not in stderr
    assert f"--resume --out {tmp_path / 'run'}" in re.sub(r"\s+", " ", stderr)
    assert not (tmp_path / "store" / "snapshots").exists()
    resumed = magnet_train(*options, "--resume", "--no-export")
    assert resumed.exit_code == 0, resumed.output
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert measured(metrics) == measured(ran.metrics)
    histories = [(run / "history.jsonl").read_text() for run in (ran.directory, tmp_path / "run")]
    assert histories[0] == histories[1]


def test_advice_after_ctrl_c_can_be_followed(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the second fit, which has a directory of its own; and for commands without --resume."""
    run = tmp_path / "run"
    small = ("--set", "settings.max_epochs=2", "--set", "settings.embedding_size=4", "--set", "join_valid=true")
    options = ("run", "--data", data, "--model", "bpr", *small, "--no-export", "--out", run)
    original = TriplesPhase.losses

    def losses(self: TriplesPhase, step: int, rng: np.random.Generator) -> Any:
        if self.name.startswith("refit"):
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, step, rng)

    def any_step(self: TriplesPhase, step: int, rng: np.random.Generator) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return original(self, step, rng)

    monkeypatch.setattr(TriplesPhase, "losses", losses)
    stopped = magnet_train(*options)
    assert stopped.exit_code == 130, stopped.output
    assert f"the same command with --resume --out {run} goes on" in stopped.stderr
    stopped = magnet_train("evaluate", run)
    assert stopped.exit_code == 130, stopped.output
    assert "the same command goes on from there" in stopped.stderr
    monkeypatch.setattr(TriplesPhase, "losses", any_step)
    stopped = magnet_train("fold-in", "--data", data, "--model", "bpr", "--out", tmp_path / "folded")
    assert stopped.exit_code == 130, stopped.output
    assert "the same command starts over" in stopped.stderr
    assert "--resume" not in stopped.stderr
    monkeypatch.setattr(TriplesPhase, "losses", original)
    assert magnet_train(*options, "--resume").exit_code == 0


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("run", "--data", "."), "--resume goes on from the last finished phase"),
        (("evaluate", "."), "the same command goes on from the last finished phase"),
        (("compare", "."), "interrupted"),
    ],
)
def test_an_interruption_outside_of_a_phase_advises_what_the_command_can(
    command: tuple[str, ...], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "_walk", interrupted)
    monkeypatch.setattr(cli, "read_run_config", lambda path: None)
    monkeypatch.setattr(compare_command, "read_runs", interrupted)
    stopped = magnet_train(*command)
    assert stopped.exit_code == 130
    assert stopped.stderr.strip().endswith(expected)


def refused(result: Result, *expected: str) -> None:
    """One line on stderr that says all of this, exit code 2."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    for text in expected:
        assert text in result.stderr


def test_going_on_with_other_settings_is_refused_and_so_is_a_second_run_in_one_directory(ran: Ran) -> None:
    options = [*ran.options, "--out", ran.directory, "--store", ran.store]
    refused(magnet_train(*options), "holds a run", "--resume")
    refused(magnet_train(*options, "--resume", "--set", "settings.base.negatives=7"), "settings")
    refused(magnet_train(*options, "--resume", "--seed", "6"), "seed")
    refused(magnet_train(*ran.options, "--resume"), "--out")


LIGHT_GCN = ("--model", "lightgcn", "--set", "settings.embedding_size=8", "--set", "settings.max_epochs=3")


def test_a_finished_run_is_extended_by_item_item_evidence_from_its_checkpoints(data: Path, tmp_path: Path) -> None:
    """As README has it: a copy without its configuration, gone on with under a changed one."""
    plain, extended, store = tmp_path / "plain", tmp_path / "extended", tmp_path / "store"
    done = magnet_train("run", "--data", data, *LIGHT_GCN, "--no-refit", "--no-export", "--out", plain)
    assert done.exit_code == 0, done.output
    shutil.copytree(plain, extended)
    (extended / "config.toml").unlink()
    evidence = ("--set", "settings.item_item.enabled=true")
    done = magnet_train(
        *("run", "--config", plain / "config.toml", *evidence, "--resume", "--out", extended, "--store", store)
    )
    assert done.exit_code == 0, done.output
    histories = [(run / "history.jsonl").read_text(encoding="utf-8") for run in (plain, extended)]
    assert histories[0] == histories[1]  # nothing was fitted again
    assert [term.name for term in Store(store).open().manifest.terms] == ["item-item", "collaborative"]
    metrics = [json.loads((run / "metrics.json").read_text(encoding="utf-8")) for run in (plain, extended)]
    assert metrics[1]["valid"] != metrics[0]["valid"]
    assert metrics[1]["seconds"] >= metrics[0]["seconds"]


def test_checkpoints_are_never_measured_on_other_data(tmp_path: Path) -> None:
    """One interaction more, of a known user with a known item: all shapes stay, and the split is drawn anew."""
    data, run = write_dataset(tmp_path / "data", tiny_dataset()), tmp_path / "run"
    options = ("run", "--data", data, *LIGHT_GCN, "--no-refit", "--no-export")
    assert magnet_train(*options, "--out", run).exit_code == 0
    before, interactions = (run / "metrics.json").read_text(encoding="utf-8"), data / "tiny.inter"
    content = interactions.read_text(encoding="utf-8")
    pairs = {tuple(line.split("\t")[:2]) for line in content.splitlines()}
    extra = next(item for item in tiny_dataset().items.item_ids if ("u0", item) not in pairs)
    interactions.write_text(f"{content}u0\t{extra}\t1000000000\n", encoding="utf-8")
    differs = ("the data that", str(run), "test part", "--out")
    refused(magnet_train("evaluate", run), *differs)
    refused(magnet_train("export", run, "--store", tmp_path / "store"), *differs)
    refused(magnet_train(*options, "--resume", "--out", run), *differs)
    assert (run / "metrics.json").read_text(encoding="utf-8") == before
    interactions.write_text(content, encoding="utf-8")
    assert magnet_train("evaluate", run).exit_code == 0

    another = tmp_path / "another"
    shutil.copytree(run, another)
    (another / "config.toml").unlink()
    refused(magnet_train(*options, "--resume", "--seed", "1", "--out", another), "test part", str(another))
    assert not (another / "config.toml").exists()
    assert magnet_train(*options, "--resume", "--out", another).exit_code == 0


def test_the_test_may_know_the_validation_part(data: Path, tmp_path: Path) -> None:
    options = ("run", "--data", data, *LIGHT_GCN, "--split", "leave-last", "--no-export", "--seed", "3")
    apart, joined = tmp_path / "apart", tmp_path / "joined"
    for run, more in ((apart, ()), (joined, ("--set", "join_valid=true"))):
        done = magnet_train(*options, *more, "--out", run)
        assert done.exit_code == 0, done.output
    before, after = (json.loads((run / "metrics.json").read_text(encoding="utf-8")) for run in (apart, joined))
    assert after["valid"] == before["valid"]
    assert after["split"] == {**before["split"], "join_valid": True}
    dataset = tiny_dataset()
    split = split_dataset(dataset, "leave-last", seed=3)
    recipe = RECIPES["lightgcn"]
    config = recipe.config_type.model_validate({"embedding_size": 8, "max_epochs": 3})
    third = Run(tmp_path / "again", seed=3)
    again = recipe.refit(
        recipe.fit(dataset, split, config, third), dataset, with_valid_in_train(dataset, split), config, third
    )
    seen = replace(split, train=sparse.csr_array(split.train + split.valid))
    assert after["test"]["ndcg@20"] == pytest.approx(evaluate(again.score_block, seen, "test").means()["ndcg@20"])
    assert after["test"]["ndcg@20"] != before["test"]["ndcg@20"]
    assert magnet_train("evaluate", joined).exit_code == 0
    assert json.loads((joined / "metrics.json").read_text(encoding="utf-8"))["test"] == after["test"]
    snapshots = []
    for run in (apart, joined):  # what is served is fitted on everything, either way
        done = magnet_train("export", run, "--store", tmp_path / "store")
        assert done.exit_code == 0, done.output
        snapshots.append(Store(tmp_path / "store").open(done.stdout.split()[-1]))
    vectors = [snapshot.array("user_vectors") for snapshot in snapshots]
    np.testing.assert_array_equal(vectors[0], vectors[1])


def damage_line(directory: Path) -> tuple[str, ...]:
    path = directory / "tiny.inter"
    lines = path.read_text().splitlines()
    lines[4] = "u0\ti3"
    path.write_text("\n".join(lines) + "\n")
    return "tiny.inter", "5"


def duplicate_item(directory: Path) -> tuple[str, ...]:
    path = directory / "items.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[3]]) + "\n")
    return "items.csv", "i2"


def shorten_features(directory: Path) -> tuple[str, ...]:
    np.save(directory / "image_feat.npy", np.load(directory / "image_feat.npy")[:-1])
    return "image_feat.npy", "39", "40"


def keep_two_users(directory: Path) -> tuple[str, ...]:
    path = directory / "tiny.inter"
    path.write_text("user_id:token\titem_id:token\ttimestamp:float\nu0\ti0\t1\nu1\ti1\t2\n")
    return ("empty",)


@pytest.mark.parametrize("damage", [damage_line, duplicate_item, shorten_features, keep_two_users])
def test_bad_data_end_in_one_line_and_publish_nothing(
    damage: Callable[[Path], tuple[str, ...]], quick: Path, tmp_path: Path
) -> None:
    directory = write_dataset(tmp_path / "data", tiny_dataset())
    expected = damage(directory)
    options: list[str | Path] = ["run", "--data", directory, "--config", quick, "--model", "popularity"]
    options += ["--set", "settings={}", "--out", tmp_path / "run", "--store", tmp_path / "store"]
    refused(magnet_train(*options), *expected)
    assert Store(tmp_path / "store").snapshots() == []
    write_dataset(directory, tiny_dataset())  # mended, the very same command works
    assert magnet_train(*options).exit_code == 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--model", "magnetic"], ["magnetic", "popularity"]),
        (["--set", "settings.base.embeding_size=4"], ["settings", "embeding_size"]),
        (["--set", "settings.base.temperature=-1"], ["base.temperature"]),
        (["--set", "settings.base=3"], ["base"]),
        (["--set", "seed.x=3"], ["seed"]),
        (["--set", "nonsense"], ["nonsense"]),
        (["--set", "splits=random"], ["splits"]),
        (["--split", "sideways"], ["split"]),
        (["--device", "abacus"], ["abacus"]),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else None,
)
def test_settings_that_do_not_exist_are_named(
    options: list[str], expected: list[str], data: Path, tmp_path: Path
) -> None:
    refused(magnet_train("run", "--data", data, "--out", tmp_path / "run", "--store", tmp_path, *options), *expected)
    assert not (tmp_path / "run").exists()


def test_no_dataset_is_an_error() -> None:
    refused(magnet_train("run"), "--data")


def test_a_full_disk_leaves_no_half_snapshot(
    data: Path, quick: Path, tmp_path: Path, small_disks: Callable[[int], Path]
) -> None:
    store = small_disks(64) / "store"
    options: list[str | Path] = [
        "--config",
        quick,
        "--model",
        "popularity",
        "--set",
        "settings={}",
        "--out",
        tmp_path / "run",
    ]
    result = magnet_train("run", "--data", data, *options, "--store", store)
    assert result.exit_code == 2, result.output
    assert "No space left" in result.stderr.splitlines()[-1]
    assert Store(store).snapshots() == []
    assert Store(store).current() is None
    assert not list((store / "staging").glob("*"))


def test_models_lists_what_model_takes() -> None:
    assert json.loads(magnet_train("models", "--json").stdout) == list(RECIPES)
    assert magnet_train("models").stdout.split() == list(RECIPES)
