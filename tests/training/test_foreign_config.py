"""MMRec's and RecBole's configuration files: what is taken over means the same here, the rest is named."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.support.tiny_dataset import tiny_dataset, write_dataset
from training.cli import main
from training.config import ConfigError, model_settings, put_together
from training.foreign_config import import_config
from training.foreign_names import LISTS, MODELS, OF_MODEL
from training.models.registry import RECIPES, recipe_for
from training.sweep import read_space

OVERALL = """
gpu_id: 0
use_gpu: False
seed: [999, 1000]
data_path: 'data/'
inter_splitting_label: 'x_label'
embedding_size: 64
weight_decay: 0.0
epochs: 1000
stopping_step: 20
train_batch_size: 2048
learner: adam
learning_rate: 1e-3
learning_rate_scheduler: [1.0, 50]
eval_step: 1
USER_ID_FIELD: user_id:token
metrics: ["Recall", "NDCG"]
topk: [5, 10, 20, 50]
valid_metric: Recall@20
hyper_parameters: ["seed"]
"""
FREEDOM = """
feat_embed_dim: 64
reg_weight: [0.0, 1e-05, 1e-3]
n_mm_layers: 1
n_ui_layers: 2
knn_k: 10
mm_image_weight: 0.1
dropout: [0.8, 0.9]
hyper_parameters: ["dropout", "reg_weight"]
"""
RECBOLE = """
model: LightGCN
dataset: ml-100k
data_path: dataset/
USER_ID_FIELD: user_id
load_col: {inter: [user_id, item_id, rating, timestamp]}
val_interval: {rating: "[3,inf)"}
eval_args: {split: {RS: [0.8, 0.1, 0.1]}, group_by: user, order: RO, mode: full}
valid_metric: MRR@10
learning_rate: 0.002
n_layers: 2
reg_weight: 1e-05
"""


@pytest.fixture
def mmrec(tmp_path: Path) -> list[Path]:
    (tmp_path / "overall.yaml").write_text(OVERALL)
    (tmp_path / "FREEDOM.yaml").write_text(FREEDOM)
    return [tmp_path / "overall.yaml", tmp_path / "FREEDOM.yaml"]


def imported(tmp_path: Path, text: str, **options: Any) -> Any:
    (tmp_path / "one.yaml").write_text(text)
    return import_config([tmp_path / "one.yaml"], **options)


def test_mmrecs_files_give_run_and_grid(mmrec: list[Path]) -> None:
    found = import_config(mmrec, data=Path("data/baby"))
    assert {name: found.config[name] for name in ("model", "data", "seed", "device", "split")} == {
        "model": "freedom",
        "data": "data/baby",
        "seed": 999,
        "device": "cpu",
        "split": "given",
    }
    assert found.config["settings"] == {
        "embedding_size": 64,
        "max_epochs": 1000,
        "patience": 20,
        "batch_size": 2048,
        "learning_rate": 0.001,
        "evaluate_every": 1,
        "content_layers": 1,
        "layers": 2,
        "neighbours": 10,
        "visual_weight": 0.1,
    }
    assert found.space == {
        "settings.pruned": {"choices": [0.8, 0.9]},
        "settings.reg": {"choices": [0.0, 1e-5, 1e-3]},
    }
    assert found.notes == [
        "seed: one per run, 999 taken out of 999, 1000",
        "no counterpart here: feat_embed_dim, learning_rate_scheduler",
    ]


def test_every_file_adds_to_the_grid_but_what_a_fit_searches_itself(tmp_path: Path) -> None:
    (tmp_path / "overall.yaml").write_text('learning_rate: [0.001, 0.0001]\nhyper_parameters: ["learning_rate"]')
    (tmp_path / "FREEDOM.yaml").write_text(FREEDOM)
    found = import_config([tmp_path / "overall.yaml", tmp_path / "FREEDOM.yaml"])
    assert set(found.space) == {"settings.learning_rate", "settings.pruned", "settings.reg"}
    searched = imported(tmp_path, 'knn_k: [10, 50]\nhyper_parameters: ["knn_k"]', model="ItemKNN")
    assert (searched.space, searched.config["settings"]) == ({}, {"neighbours": [10, 50]})


def test_recboles_file_gives_a_run(tmp_path: Path) -> None:
    found = imported(tmp_path, RECBOLE)
    assert found.config == {
        "model": "lightgcn",
        "data": "dataset/ml-100k",
        "split": "random",
        "min_rating": 3.0,
        "settings": {"learning_rate": 0.002, "layers": 2},
    }
    assert found.notes == ["no counterpart here: reg_weight, valid_metric"]  # it weighs norms, ours their squares


@pytest.mark.parametrize(
    ("args", "split", "note"),
    [
        ("{split: {LS: valid_and_test}, order: TO}", "leave-last", None),
        ("{split: {RS: [0.8, 0.1, 0.1]}, order: TO, group_by: none}", "global-time", None),
        ("{split: {RS: [0.7, 0.1, 0.2]}, order: RO, group_by: user}", "random", "8:1:1"),
        ("{split: {RS: [8, 1, 1]}, order: RO, group_by: user}", "random", None),
        ("{split: {RS: [0.4, 0.05, 0.05]}, order: RO, group_by: user}", "random", None),
        ("{split: {RS: [8, 2]}, order: RO, group_by: user}", "random", "8:1:1"),
        ("{split: {RS: [0, 0, 0]}, order: RO, group_by: user}", "random", "8:1:1"),
        ("{split: {RS: 0.8}, order: RO, group_by: user}", "random", "8:1:1"),
        ("{split: {RS: [0.8, 0.1, 0.1]}, order: RO, group_by: user, mode: uni100}", "random", "never sampled"),
        ("{split: {LS: test_only}, order: TO}", None, "no such split"),
        ("{split: {RS: [0.8, 0.1, 0.1]}, order: TO, group_by: user}", None, "no such split"),
        ("{split: {RS: [0.8, 0.1, 0.1]}, order: TO}", None, "no such split"),
    ],
)
def test_recboles_splits(tmp_path: Path, args: str, split: str | None, note: str | None) -> None:
    found = imported(tmp_path, f"eval_args: {args}\nthreshold: {{rating: 3}}", model="BPR")
    assert found.config.get("split") == split
    assert len(found.notes) == (note is not None)
    assert all(note in one for one in found.notes if note)


def test_recbole_counts_every_rating_where_it_says_nothing(tmp_path: Path) -> None:
    found = imported(tmp_path, "eval_args: {split: {LS: valid_and_test}, order: TO}", model="BPR")
    assert [note.split(":")[0] for note in found.notes] == ["ratings"]


def test_a_setting_the_model_lacks_and_values_that_mean_something_else_are_named(tmp_path: Path) -> None:
    text = "n_layers: 3\nlearner: sgd\nUSER_ID_FIELD: session\ninter_splitting_label: fold\n"
    text += "val_interval: {rating: '(3,4)'}\n"
    found = imported(tmp_path, text, model="BPR")
    assert found.config == {"model": "bpr"}
    assert found.notes[0].startswith("inter_splitting_label")
    assert found.notes[1] == "no counterpart here: USER_ID_FIELD, learner, n_layers, val_interval"


def test_two_names_of_one_setting_have_to_agree(tmp_path: Path) -> None:
    assert imported(tmp_path, "image_knn_k: 10\ntext_knn_k: 10", model="SMORE").notes == []
    found = imported(tmp_path, "image_knn_k: 10\ntext_knn_k: 15", model="SMORE")
    assert found.config["settings"] == {"neighbours": 10}
    assert found.notes == ["text_knn_k: neighbours is 10 already, 15 is not taken"]
    grid = "image_knn_k: [10, 15]\ntext_knn_k: [10, 15]\nhyper_parameters: [image_knn_k, text_knn_k]"
    assert imported(tmp_path, grid, model="SMORE").space == {"settings.neighbours": {"choices": [10, 15]}}


def test_what_is_no_such_file_or_model_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a model out of"):
        imported(tmp_path, "epochs: 3")
    for text in ("- a\n- b", "a: [", "3: x"):
        with pytest.raises(ConfigError, match=r"one\.yaml"):
            imported(tmp_path, text, model="BPR")


@pytest.mark.parametrize("text", ["", "# nothing said\n"])
def test_an_empty_file_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "dataset.yaml").write_text(text)
    (tmp_path / "BPR.yaml").write_text("learning_rate: 0.002\n")
    found = import_config([tmp_path / "BPR.yaml", tmp_path / "dataset.yaml"], model="BPR")
    assert found.config == {"model": "bpr", "settings": {"learning_rate": 0.002}}


def test_every_mapped_setting_exists() -> None:
    assert set(MODELS.values()) <= RECIPES.keys()
    for model, names in OF_MODEL.items():
        assert set(names.values()) - {None} <= recipe_for(model).config_type.model_fields.keys()
    for model, name in LISTS:
        assert name in recipe_for(model).config_type.model_fields


def test_a_run_takes_the_file_and_a_sweep_the_grid(mmrec: list[Path], tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "tiny", tiny_dataset())
    out, space = tmp_path / "run.toml", tmp_path / "space.toml"
    arguments = ["import-config", *map(str, mmrec), "--data", str(data), "--out", str(out), "--space", str(space)]
    answer = CliRunner().invoke(main, arguments)
    assert answer.exit_code == 0, answer.output
    assert "not taken over: no counterpart here: feat_embed_dim" in answer.stderr
    config = put_together(out, (), {})
    assert (config.data, config.model, config.split) == (data, "freedom", "given")
    assert model_settings(recipe_for("freedom").config_type, config.settings)
    assert read_space(space).keys() == {"settings.pruned", "settings.reg"}
    printed = CliRunner().invoke(main, [*arguments[:5]])
    assert tomllib.loads(printed.stdout)["settings"] == config.settings
    assert "--space FILE" in printed.stderr
