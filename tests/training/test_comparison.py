"""Comparing runs: their users' metrics on disk, grouping by seed, and tables that say what the numbers say."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from training.cli import main
from training.comparison import differences, means_table, read_runs
from training.config import RunConfig, write_run_config
from training.errors import TrainingError
from training.evaluation.per_user import OVERALL, load_per_user, save_per_user
from training.evaluation.protocol import Evaluation, UserMetrics
from training.evaluation.significance import holm, paired_bootstrap

N = 80

ONE_AND_TWO = (("ease", 0), ("bpr", 0), ("bpr", 1))


def write_run(
    directory: Path,
    model: str,
    recall: np.ndarray,
    *,
    seed: int = 0,
    split: str = "given",
    data: str = "baby",
    joined: bool = False,
    test: str | None = None,
    missing: slice | None = None,
    **config: Any,
) -> Path:
    """An evaluated run with these recalls (n,); its tail stratum is every other user.

    `missing`: who is asked for items that lack a modality; nobody where omitted.
    """
    rows = np.arange(len(recall), dtype=np.int64)
    overall = UserMetrics(rows, {"recall@20": recall, "ndcg@20": recall / 2})
    tail = UserMetrics(rows[::2], {name: values[::2] for name, values in overall.values.items()})
    strata = {"tail": tail}
    if missing is not None:
        values = {name: values[missing] for name, values in overall.values.items()}
        strata["missing-modality"] = UserMetrics(rows[missing], values)
    evaluation = Evaluation("test", overall, strata, {}, np.zeros((len(recall), 50), np.int32))
    written = RunConfig(data=Path(data), model=model, seed=seed, join_valid=joined, **config)
    write_run_config(directory / "config.toml", written)
    save_per_user(directory, {"test": evaluation})
    of_test = {} if test is None else {"test": test}
    (directory / "metrics.json").write_text(json.dumps({"split": {"name": split, "seed": seed, **of_test}}))
    return directory


@pytest.fixture
def recall() -> np.ndarray:
    return np.random.default_rng(0).random(N)


def test_per_user_metrics_come_back(tmp_path: Path, recall: np.ndarray) -> None:
    found = load_per_user(write_run(tmp_path / "a", "ease", recall))["test"]
    assert set(found) == {OVERALL, "tail"}
    np.testing.assert_array_equal(found[OVERALL].values["recall@20"], recall)
    np.testing.assert_array_equal(found["tail"].user_rows, np.arange(0, N, 2))


def test_a_run_without_them_is_told_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="magnet-train evaluate"):
        load_per_user(tmp_path)


def test_seeds_are_one_model_and_averaged_per_user(tmp_path: Path, recall: np.ndarray) -> None:
    other = np.roll(recall, 1)
    runs = [
        write_run(tmp_path / "a1", "magnet", recall + 0.2, seed=1),
        write_run(tmp_path / "b", "ease", recall),
        write_run(tmp_path / "a0", "magnet", other + 0.2, seed=0),
    ]
    models = read_runs(runs)
    assert [(model.label, len(model.runs)) for model in models] == [("magnet", 2), ("ease", 1)]
    (found,) = differences(models, part="test", metrics=["recall@20"], groups=[OVERALL])
    expected = paired_bootstrap(np.stack([other + 0.2, recall + 0.2]), recall)
    assert found.paired == expected
    assert found.verdict == "better"
    table = means_table(models, part="test", metrics=["recall@20"], groups=[OVERALL])
    assert f"| magnet | 2 | {N} | {recall.mean() + 0.2:.4f} ± 0.0000 |" in table


def test_holm_runs_over_every_comparison_of_the_table(tmp_path: Path, recall: np.ndarray) -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, N)
    runs = [write_run(tmp_path / "a", "magnet", recall + 0.02 + noise), write_run(tmp_path / "b", "ease", recall)]
    runs.append(write_run(tmp_path / "c", "bpr", recall - 0.3))
    found = differences(read_runs(runs), part="test", metrics=["recall@20", "ndcg@20"], groups=[OVERALL, "tail"])
    assert len(found) == 2 * 2 * 2
    assert [entry.adjusted for entry in found] == holm([entry.paired.p_value for entry in found])


def test_groups_that_nobody_is_in_are_left_out(tmp_path: Path, recall: np.ndarray) -> None:
    models = read_runs([write_run(tmp_path / "a", "magnet", recall), write_run(tmp_path / "b", "ease", recall)])
    found = differences(models, part="test", metrics=["recall@20"], groups=["cold", "tail"])
    assert [(entry.group, entry.verdict) for entry in found] == [("tail", "not shown")]


def test_a_group_may_have_other_users_under_every_seed(tmp_path: Path, recall: np.ndarray) -> None:
    """A split that is drawn by the seed also draws who has a positive in the tail."""
    runs, wins = [], {0: 0.3, 1: 0.1}
    for seed, win in wins.items():
        for model, gain in (("magnet", win), ("ease", 0.0)):
            directory = write_run(tmp_path / f"{model}{seed}", model, recall + gain, seed=seed, split="random")
            overall = load_per_user(directory)["test"][OVERALL]
            rows = overall.user_rows[seed::3]
            tail = UserMetrics(rows, {name: values[seed::3] for name, values in overall.values.items()})
            evaluation = Evaluation("test", overall, {"tail": tail}, {}, np.zeros((N, 50), np.int32))
            save_per_user(directory, {"test": evaluation})
            runs.append(directory)
    models = read_runs(sorted(runs, key=lambda run: run.name, reverse=True))
    (found,) = differences(models, part="test", metrics=["recall@20"], groups=["tail"])
    members = {seed: len(range(seed, N, 3)) for seed in wins}
    assert found.paired.users == sum(members.values())
    expected = sum(members[seed] * win for seed, win in wins.items()) / sum(members.values())
    assert found.paired.mean == pytest.approx(expected)
    per_seed = [(recall[seed::3] + win).mean() for seed, win in wins.items()]
    table = means_table(models, part="test", metrics=["recall@20"], groups=["tail"])
    assert f"| magnet, tail | 2 | {sum(members.values())} | {np.mean(per_seed):.4f} ± " in table


def test_settings_apart_from_the_seed_make_another_model(tmp_path: Path, recall: np.ndarray) -> None:
    runs = [write_run(tmp_path / name, "ease", recall) for name in ("plain", "tuned")]
    config = RunConfig(data=Path("baby"), model="ease", settings={"reg": 5.0})
    write_run_config(tmp_path / "tuned" / "config.toml", config)
    assert [model.label for model in read_runs(runs)] == ["ease (plain)", "ease (tuned)"]


def test_folders_of_one_name_are_told_apart_by_their_paths(tmp_path: Path, recall: np.ndarray) -> None:
    runs = [write_run(tmp_path / "plain" / "0", "ease", recall)]
    runs.append(write_run(tmp_path / "tuned" / "0", "ease", recall, settings={"reg": 5.0}))
    assert [model.label for model in read_runs(runs)] == [f"ease ({run})" for run in runs]
    runs.append(write_run(tmp_path / "other" / "1", "ease", recall, settings={"reg": 6.0}))
    assert [model.label for model in read_runs(runs)] == [f"ease ({run})" for run in runs[:2]] + ["ease (1)"]


def test_what_cannot_be_compared_is_refused(tmp_path: Path, recall: np.ndarray) -> None:
    ours = write_run(tmp_path / "a", "magnet", recall)
    with pytest.raises(TrainingError, match="movielens"):
        read_runs([ours, write_run(tmp_path / "b", "ease", recall, data="movielens")])
    with pytest.raises(TrainingError, match="cold-items"):
        read_runs([ours, write_run(tmp_path / "c", "ease", recall, split="cold-items")])
    with pytest.raises(TrainingError, match="'given, validation joined'"):
        read_runs([ours, write_run(tmp_path / "j", "ease", recall, joined=True)])
    with pytest.raises(TrainingError, match="one run per seed"):
        read_runs([ours, write_run(tmp_path / "d", "magnet", recall)])
    drawn = [write_run(tmp_path / f"e{s}", m, recall, seed=s, split="random") for m, s in (("ease", 0), ("bpr", 1))]
    with pytest.raises(TrainingError, match="drawn by seed"):
        read_runs(drawn)
    for split in ("leave-last", "global-time"):  # the same test whatever the seed
        last = [write_run(tmp_path / f"{split}{m}{s}", m, recall, seed=s, split=split) for m, s in ONE_AND_TWO]
        assert [len(model.runs) for model in read_runs(last)] == [1, 2]
    fewer = read_runs([ours, write_run(tmp_path / "f", "ease", recall[1:])])
    with pytest.raises(TrainingError, match="different users in the group 'overall'"):
        differences(fewer, part="test", metrics=["recall@20"], groups=[OVERALL])


def test_other_positives_are_refused_unless_both_say_that_the_test_is_the_same(
    tmp_path: Path, recall: np.ndarray
) -> None:
    ours = write_run(tmp_path / "a", "magnet", recall, test="one")
    older = write_run(tmp_path / "b", "ease", recall, min_rating=4.0)
    with pytest.raises(TrainingError, match=r"min_rating None like .*/a, .*/b is .* min_rating 4\.0"):
        read_runs([ours, older])
    assert len(read_runs([ours, write_run(tmp_path / "c", "ease", recall, min_rating=4.0, test="one")])) == 2
    with pytest.raises(TrainingError, match=r"the same test part in .*/a and .*/d,.* min_rating"):
        read_runs([ours, write_run(tmp_path / "d", "ease", recall, min_rating=4.0, test="two")])


CONTENT: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"missing": slice(0, 40)}, {"missing": slice(20, 60), "mask_features": 0.3}),
    ({"missing": slice(0, 40)}, {"missing": slice(0, 40), "mask_features": 0.3}),
    ({"missing": slice(0, 40)}, {"missing": slice(0, 50), "without": ("visual",)}),
    ({"missing": slice(0, 40)}, {"missing": slice(0, 40), "features": Path("features")}),
    ({"missing": slice(0, 40)}, {"without": ("visual",)}),
    ({"missing": slice(0, 40), "mask_features": 0.3}, {"missing": slice(0, 40), "mask_features": 0.3, "seed": 1}),
    ({"missing": slice(0, 40)}, {"missing": slice(1, 41)}),
]


@pytest.mark.parametrize(("ours", "theirs"), CONTENT)
def test_items_that_lack_other_modalities_are_not_compared(
    tmp_path: Path, recall: np.ndarray, ours: dict[str, Any], theirs: dict[str, Any]
) -> None:
    runs = [write_run(tmp_path / "a", "magnet", recall, **ours), write_run(tmp_path / "b", "ease", recall, **theirs)]
    answer = CliRunner().invoke(main, ["compare", *map(str, runs), "--group", "all", "--resamples", "100"])
    assert answer.exit_code == 0, answer.output
    assert "| ease | tail | recall@20 |" in answer.stdout
    assert "| ease | missing-modality |" not in answer.stdout
    assert answer.stdout.endswith("\n\nmissing-modality: not compared with ease, where other items lack a modality.\n")


def test_items_that_lack_the_same_modalities_are_compared(tmp_path: Path, recall: np.ndarray) -> None:
    of: dict[str, Any] = {"missing": slice(0, 40), "mask_features": 0.3}
    runs = [write_run(tmp_path / "a", "magnet", recall, **of), write_run(tmp_path / "b", "ease", recall, **of)]
    answer = CliRunner().invoke(main, ["compare", *map(str, runs), "--group", "all", "--resamples", "100"])
    assert "| ease | missing-modality | ndcg@20 |" in answer.stdout
    assert "not compared" not in answer.stdout


def test_runs_on_other_test_parts_are_refused_where_they_say_which(tmp_path: Path, recall: np.ndarray) -> None:
    """Two states of one dataset have the same name, and often the same users in the test."""
    ours = write_run(tmp_path / "a", "magnet", recall, test="one")
    with pytest.raises(TrainingError, match=r"the same test part in .*/a and .*/b,.*the same data"):
        read_runs([ours, write_run(tmp_path / "b", "ease", recall, test="two")])
    older = write_run(tmp_path / "older", "bpr", recall)
    assert len(read_runs([ours, older, write_run(tmp_path / "c", "ease", recall, test="one")])) == 3

    drawn = [
        write_run(tmp_path / f"{model}{seed}", model, recall, seed=seed, split="random", test=f"of seed {seed}")
        for model in ("magnet", "ease")
        for seed in (0, 1)
    ]
    assert len(read_runs(drawn)) == 2
    other = write_run(tmp_path / "other", "bpr", recall, seed=1, split="random", test="of seed 0")
    with pytest.raises(TrainingError, match=r"the same test part in .*/magnet1 and .*/other,"):
        read_runs([*drawn, other])


def test_the_command_prints_and_writes_tables(tmp_path: Path, recall: np.ndarray) -> None:
    runs = [write_run(tmp_path / "a", "magnet", recall + 0.1), write_run(tmp_path / "b", "ease", recall)]
    arguments = ["compare", *map(str, runs), "--group", "all", "--resamples", "500", "--out", str(tmp_path / "t.md")]
    answer = CliRunner().invoke(main, arguments)
    assert answer.exit_code == 0, answer.output
    assert "| ease | tail | ndcg@20 | +0.0500 |" in answer.stdout
    assert (tmp_path / "t.md").read_text() == answer.stdout
    answer = CliRunner().invoke(main, ["compare", str(tmp_path)])
    assert answer.exit_code == 2
    assert "metrics.json" in answer.stderr
