"""Runs become rows, rows become the page, and the committed page is the one that the committed rows give."""

import json
import shlex
from dataclasses import replace
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from tests.support.tiny_dataset import tiny_dataset, write_dataset
from training.cli import main
from training.comparison import differences, read_runs
from training.config import RunConfig, model_settings, read_run_config
from training.evaluation.per_user import OVERALL
from training.models.registry import recipe_for
from training.results.collect import collect
from training.results.page import write_page
from training.results.rerun import rerun
from training.results.row import ResultsError, read_groups, read_row, read_rows, save_row
from training.results.significance import FILE
from training.results.tables import TABLES, experts_served

ROOT = Path(__file__).parents[3]
RUNS = {"magnet": ("itemknn", 0), "magnet-1": ("itemknn", 1), "ease": ("ease", 0), "ease-1": ("ease", 1)}
"""A quick model stands in for the one that the others are compared with."""


def magnet_train(*arguments: str | Path) -> str:
    answer = CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    return answer.stdout


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four runs: two models with two seeds, one of them with a setting of its own and published."""
    work = tmp_path_factory.mktemp("work")
    data = write_dataset(work / "data" / "tiny", tiny_dataset())
    for name, (model, seed) in RUNS.items():
        options = ["--set", "settings.reg=30.0", "--no-refit", "--no-promote"] if name == "ease" else ["--no-export"]
        if name == "ease-1":
            options += ["--set", "settings.reg=30.0", "--no-refit"]
        chosen = ["--model", model, "--seed", str(seed), *options]
        magnet_train("run", "--data", data, "--out", work / name, "--store", work / "store", *chosen)
    return work


@pytest.fixture
def rows(work: Path, tmp_path: Path) -> Path:
    """The rows of the four runs, in the main table."""
    rows = tmp_path / "results" / "rows"
    for label in ("magnet", "ease"):
        magnet_train(
            "results",
            "add",
            work / label,
            work / f"{label}-1",
            *("--table", "main"),
            *("--label", label, "--rows", rows),
        )
    (rows.parent / "datasets.toml").write_text("")
    return rows


def page_of(rows: Path) -> str:
    magnet_train("results", "write", "--rows", rows, "--out", rows.parent.parent / "RESULTS.md")
    return (rows.parent.parent / "RESULTS.md").read_text()


def test_the_committed_page_is_what_the_committed_rows_give(tmp_path: Path) -> None:
    copy = copytree(ROOT / "training/results", tmp_path / "results", ignore=ignore_patterns("__pycache__"))
    page = write_page(copy / "rows")
    assert page == (ROOT / "training/RESULTS.md").read_text(), "run `magnet-train results write`"
    for path in copy.glob(f"rows/*/{FILE}"):
        committed = ROOT / "training" / path.relative_to(tmp_path)
        assert path.read_bytes() == committed.read_bytes(), "run `magnet-train results write`"


def test_no_committed_row_names_a_place_of_a_machine() -> None:
    for path in [*(ROOT / "training/results/rows").glob("*/*.json"), ROOT / "training/RESULTS.md"]:
        assert not [word for word in ("/work", "/home", "/root", "/tmp", "\\\\") if word in path.read_text()], path


def test_every_committed_row_can_be_run_again() -> None:
    for _, row in read_rows(ROOT / "training/results/rows"):
        assert rerun(row).startswith("magnet-train run --data DATA/")


def test_a_row_holds_what_the_run_measured(work: Path, rows: Path) -> None:
    metrics = json.loads((work / "ease" / "metrics.json").read_text())
    row = read_row(rows / "tiny-random" / "ease.0.json")
    assert row.test["recall@20"] == pytest.approx(metrics["test"]["recall@20"], abs=1e-6)
    assert row.strata.keys() == metrics["strata"].keys()
    assert (row.seconds, row.peak_memory_mb) == (round(metrics["seconds"], 1), metrics["peak_memory_mb"])
    assert row.machine["torch"] == metrics["machine"]["torch"]
    assert row.served["candidates"] == json.loads(json.dumps(metrics["served"]["candidates"]))
    published = [path for path in (work / "store" / "snapshots").rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in published if path.name != "manifest.json")
    assert row.snapshot_mb == pytest.approx(size / 1e6, abs=0.01)
    assert read_row(rows / "tiny-random" / "magnet.0.json").snapshot_mb is None
    assert str(work) not in (rows / "tiny-random" / "ease.0.json").read_text()


def test_comparisons_are_those_of_the_run_directories(work: Path, rows: Path) -> None:
    page = page_of(rows)
    models = read_runs([work / name for name in RUNS])
    for one in differences(models, part="test", metrics=["recall@20", "ndcg@20"], groups=[OVERALL]):
        paired = one.paired
        assert f"| ease | 0, 1 | overall | {one.metric} | {paired.mean:+.4f} | " in page
        assert f"| {paired.low:+.4f} to {paired.high:+.4f} | {one.adjusted:.4f} |" in page


def test_seeds_are_averaged(work: Path, rows: Path) -> None:
    recalls = [
        json.loads((work / name / "metrics.json").read_text())["test"]["recall@20"] for name in ("ease", "ease-1")
    ]
    cell = f"| {np.mean(recalls):.4f} ± {np.std(recalls, ddof=1):.4f} |"
    (line,) = [line for line in page_of(rows).splitlines() if line.startswith("| [ease]")]
    assert cell in line
    assert "| 0, 1 |" in line


def test_the_printed_line_gives_the_rows_settings_again(work: Path, rows: Path, tmp_path: Path) -> None:
    row = read_row(rows / "tiny-random" / "ease.1.json")
    line = rerun(row)
    assert f"`{rerun(read_row(rows / 'tiny-random' / 'ease.0.json'))}`" in page_of(rows)
    assert shlex.split(line)[-2:] == ["--set", "settings.reg=30.0"]
    words = [str(work / "data" / "tiny") if word == "DATA/tiny" else word for word in shlex.split(line)[1:]]
    magnet_train(*words, "--out", tmp_path / "again", "--store", work / "store")
    again, groups = collect(tmp_path / "again", tables=["main"])
    assert again.config == row.config | {"split": "random"}  # the rule itself, where the first run said auto
    assert again.test == row.test
    np.testing.assert_allclose(
        groups[OVERALL].values["ndcg@20"],
        read_groups(rows / "tiny-random" / "ease.1.json")[OVERALL].values["ndcg@20"],
        rtol=1e-6,
    )


def test_everything_that_can_be_set_is_in_the_line(rows: Path) -> None:
    row = read_row(rows / "tiny-random" / "magnet.0.json")
    config = {**row.config, "mask_features": 0.3, "without": ["visual"], "refit": False, "min_rating": 2.5, "amp": True}
    line = rerun(row.model_copy(update={"config": config, "made_features": False}))
    for part in (
        "mask_features=0.3",
        "'without=[\"visual\"]'",
        "--no-refit",
        "--min-rating 2.5",
        "--amp",
        "--features FEATURES",
    ):
        assert part in line
    settings: dict[str, Any] = {"members": 3, "graph": {"rho": 0.25}}
    complete = model_settings(recipe_for("magnet").config_type, settings).model_dump(mode="json")
    line = rerun(row.model_copy(update={"model": "magnet", "config": row.config | {"settings": complete}}))
    assert line.endswith("--set settings.graph.rho=0.25 --set settings.members=3")


def test_a_row_may_stand_in_several_tables_and_is_replaced_by_a_later_run(work: Path, rows: Path) -> None:
    again: list[str | Path] = [
        "results",
        "add",
        work / "ease",
        "--table",
        "ladder",
        "--label",
        "ease",
        "--fact",
        "latency_ms=2.5",
    ]
    magnet_train(*again, "--place", "1", "--rows", rows)
    row = read_row(rows / "tiny-random" / "ease.0.json")
    assert (row.tables, row.place, row.facts) == (("ladder", "main"), 1, {"latency_ms": 2.5})
    page = page_of(rows)
    assert page.count("[ease](results/rows/tiny-random/ease.0.json)") == 2
    assert "### Ladder: tiny, random" in page


def test_a_remark_stands_below_the_table_until_another_run_takes_the_rows_place(work: Path, rows: Path) -> None:
    add = ("results", "add", work / "ease", "--table", "main", "--rows", rows)
    assert "- ease: " not in write_page(rows)
    magnet_train(*add, "--remark", "before the split was mended.")
    below = write_page(rows).split("| `magnet-train run")[-1]
    assert "- ease: before the split was mended.\n" in below
    magnet_train(*add)
    assert "- ease: " not in write_page(rows)


def test_known_comparisons_are_not_made_again_and_stale_ones_are_forgotten(work: Path, rows: Path) -> None:
    page = page_of(rows)
    kept = rows / "tiny-random" / FILE
    content = json.loads(kept.read_text())
    assert len(content) == 2
    for pair in content.values():
        pair["paired"]["mean"] = 0.5  # a mark: read, not computed
    kept.write_text(json.dumps(content))
    assert "+0.5000" in page_of(rows)
    row, groups = collect(work / "magnet-1", tables=["main"], label="ease")
    save_row(
        rows,
        row.model_copy(update={"config": read_row(rows / "tiny-random" / "ease.1.json").config, "model": "ease"}),
        groups,
    )
    assert "+0.5000" not in page_of(rows)
    assert page != page_of(rows)


def test_rows_that_do_not_go_together_are_refused(work: Path, rows: Path) -> None:
    row, groups = collect(work / "magnet", tables=["main"], label="ease")
    path = save_row(rows, row, groups)
    with pytest.raises(ResultsError, match="settings of the other seeds"):
        read_rows(rows)
    path.rename(path.with_name("other.7.json"))
    with pytest.raises(ResultsError, match=r"expected tiny-random/ease\.0\.json"):
        read_rows(rows)
    path.with_name("other.7.json").write_text("{}")
    with pytest.raises(ResultsError, match="label"):
        read_rows(rows)


def test_rows_on_other_test_parts_are_refused(work: Path, rows: Path) -> None:
    asked = {
        seed: json.loads((work / name / "metrics.json").read_text())["split"]["test"]
        for name, (_, seed) in RUNS.items()
    }
    found = {path.name: row for path, row in read_rows(rows)}
    assert {row.seed: row.test_digest for row in found.values()} == asked
    path = rows / "tiny-random" / "magnet.1.json"
    row = found[path.name]
    path.write_text(row.model_copy(update={"test_digest": asked[0]}).model_dump_json())
    with pytest.raises(ResultsError, match=r"the same test part in .*/ease\.1\.json and .*/magnet\.1\.json,"):
        write_page(rows)
    path.write_text(row.model_dump_json(exclude={"test_digest"}))
    assert "| ease | 0, 1 | overall |" in write_page(rows)


def test_rows_of_a_given_split_have_one_test_part_under_every_seed(work: Path, rows: Path) -> None:
    row, groups = collect(work / "magnet", tables=["main"])
    given = row.model_copy(update={"split": "given"})
    save_row(rows, given, groups)
    save_row(rows, given.model_copy(update={"seed": 1, "test_digest": "other"}), groups)
    with pytest.raises(ResultsError, match="the same test part"):
        read_rows(rows)


def test_rows_of_other_users_are_not_compared(work: Path, rows: Path) -> None:
    """Rows of before do not say their test part; as many users are not the same users."""
    row, groups = collect(work / "ease", tables=["main"])
    moved = {name: replace(metrics, user_rows=metrics.user_rows + 1) for name, metrics in groups.items()}
    save_row(rows, row.model_copy(update={"test_digest": None}), moved)
    with pytest.raises(ResultsError, match=r"'magnet' and 'ease' .* different users in the group 'overall'"):
        write_page(rows)


def test_a_label_that_differs_in_punctuation_alone_replaces_nothing(work: Path, rows: Path) -> None:
    row, groups = collect(work / "magnet", tables=["main"], label="ease +")
    with pytest.raises(ResultsError, match=r"ease\.0\.json is the row of 'ease'.*'ease \+'"):
        save_row(rows, row, groups)
    assert read_row(rows / "tiny-random" / "ease.0.json").model == "ease"


def test_rows_may_lie_anywhere(rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (rows.parent / "datasets.toml").unlink()
    monkeypatch.chdir(rows.parent)
    assert "[ease](rows/tiny-random/ease.0.json)" in write_page(Path("rows"))
    answer = CliRunner().invoke(main, ["results", "write", "--rows", "none", "--out", "page.md"])
    assert answer.exit_code == 2
    assert answer.stderr.count("\n") == 1
    assert "expected rows in none" in answer.stderr
    assert not Path("page.md").exists()


def test_rows_under_other_conditions_stand_apart(work: Path, tmp_path: Path) -> None:
    row, groups = collect(work / "magnet", tables=["main"])
    conditions: list[dict[str, Any]] = [{}, {"mask_features": 0.3}, {"mask_features": 0.5}, {"join_valid": True}]
    paths = [save_row(tmp_path, row.model_copy(update={"config": row.config | of}), groups) for of in conditions]
    assert len({path.parent for path in paths}) == len(conditions)
    assert len(read_rows(tmp_path)) == len(conditions)


def test_a_setting_that_is_gone_is_named(rows: Path) -> None:
    row = read_row(rows / "tiny-random" / "ease.0.json")
    with pytest.raises(ResultsError, match="no_such"):
        rerun(row.model_copy(update={"config": row.config | {"settings": {"no_such": 1}}}))
    path = rows / "tiny-random" / "ease.0.json"
    for seed in (0, 1):
        path = path.with_name(f"ease.{seed}.json")
        old = read_row(path)
        path.write_text(old.model_copy(update={"config": old.config | {"settings": {"no_such": 1}}}).model_dump_json())
    assert "settings of an earlier version" in page_of(rows)


def test_a_run_of_before_is_told_what_to_do(work: Path, tmp_path: Path) -> None:
    for name in ("config.toml", "per_user.npz"):
        (tmp_path / name).write_bytes((work / "ease" / name).read_bytes())
    metrics = json.loads((work / "ease" / "metrics.json").read_text())
    del metrics["machine"]
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(ResultsError, match="magnet-train evaluate"):
        collect(tmp_path, tables=["main"])


@pytest.mark.parametrize("fact", ["x=y", "x=nan", "x=inf", "x"])
def test_a_fact_is_a_number(fact: str, tmp_path: Path) -> None:
    answer = CliRunner().invoke(main, ["results", "add", str(tmp_path), "--table", "main", "--fact", fact])
    assert answer.exit_code == 2
    assert "NAME=NUMBER" in answer.stderr


def test_every_run_says_its_seconds_and_an_evaluation_keeps_them(work: Path) -> None:
    before = json.loads((work / "magnet" / "metrics.json").read_text())
    assert before["seconds"] > 0
    path = work / "magnet" / "metrics.json"
    path.write_text(json.dumps(before | {"seconds": 1234.5}))
    magnet_train("evaluate", work / "magnet", "--store", work / "store")
    assert json.loads(path.read_text())["seconds"] == 1234.5


def test_tables_name_columns_and_groups_once() -> None:
    for spec in TABLES.values():
        assert len({column.title for column in spec.columns}) == len(spec.columns)
        assert len(set(spec.groups)) == len(spec.groups)
    assert read_run_config.__doc__
    assert RunConfig(data=Path("x")).mask_features == 0


def test_a_setting_that_came_later_has_its_default_in_earlier_rows(rows: Path) -> None:
    path = rows / "tiny-random" / "ease.0.json"
    row = read_row(path)
    settings = row.config["settings"]
    assert isinstance(settings, dict)
    usual = {name: value for name, value in settings.items() if name != "content"}
    assert usual != settings
    path.write_text(row.model_copy(update={"config": row.config | {"settings": usual}}).model_dump_json())
    assert len(read_rows(rows)) == 4


def test_experts_served_are_those_that_the_weights_amount_to(rows: Path) -> None:
    """Two that share alike and one that is never kept are two; base terms, which always count, are no experts."""
    _, row = next(iter(read_rows(rows)))
    terms = [{"name": name, "role": role} for name, role in (("a", "dominant"), ("b", "balanced"), ("c", "dominant"))]
    terms.append({"name": "popular", "role": "base"})
    weights = {"a": 0.4, "b": 0.4, "c": 0.0, "popular": 1.0}
    served = row.model_copy(update={"served": {"terms": terms, "routing": {"mean_weight": weights}}})
    assert experts_served(served) == pytest.approx(2.0)
    assert experts_served(row.model_copy(update={"served": {}})) is None
    assert experts_served(row.model_copy(update={"served": {"terms": terms[3:], "routing": {}}})) is None
