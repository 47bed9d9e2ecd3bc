"""What MMRec and RecBole call the things that this trainer has too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from training.data.interactions import COLUMNS

MODELS = {"pop": "popularity"}
"""Names of theirs that are no name here, in lower case."""
SETTINGS = {
    "embedding_size": "embedding_size",
    "learning_rate": "learning_rate",
    "train_batch_size": "batch_size",
    "epochs": "max_epochs",
    "eval_step": "evaluate_every",
    "stopping_step": "patience",
    "reg_weight": "reg",
    "n_layers": "layers",
    "knn_k": "neighbours",
    "shrink": "shrink",
}
"""Of every model that has the setting, unless its own names say otherwise."""
OF_MODEL: dict[str, dict[str, str | None]] = {
    "freedom": {
        "n_ui_layers": "layers",
        "n_mm_layers": "content_layers",
        "mm_image_weight": "visual_weight",
        "dropout": "pruned",
    },
    "mgcn": {"n_ui_layers": "layers", "n_layers": "content_layers", "cl_loss": "alignment"},
    "smore": {
        "n_ui_layers": "layers",
        "n_layers": "content_layers",
        "cl_loss": "alignment",
        "dropout_rate": "dropout",
        "image_knn_k": "neighbours",
        "text_knn_k": "neighbours",
    },
    "itemknn": {"k": "neighbours"},
    # there the sum of norms, here half the sum of their squares: no value of one is a value of the other
    **{model: {"reg_weight": None} for model in ("bpr", "lightgcn", "vbpr")},
}
LISTS = {("itemknn", "neighbours"), ("itemknn", "shrink")}
"""Settings that are lists to choose from on validation."""
SAME_HERE: dict[str, Callable[[Any], bool]] = {
    "learner": lambda value: str(value).lower() == "adam",
    "weight_decay": lambda value: not value,
    "valid_metric": lambda value: str(value).lower() == "recall@20",
    "metrics": lambda value: True,
    "topk": lambda value: True,
    "eval_batch_size": lambda value: True,
    "field_separator": lambda value: value == "\t",
    "vision_feature_file": lambda value: value == "image_feat.npy",
    "text_feature_file": lambda value: value == "text_feat.npy",
    "inter_file_name": lambda value: True,
    "neg_sampling": lambda value: value == {"uniform": 1},
    "train_neg_sample_args": lambda value: value == {"distribution": "uniform", "sample_num": 1},
    "training_neg_sample_num": lambda value: value == 1,
    "use_neg_sampling": bool,
    "use_full_sampling": lambda value: not value,
    "is_multimodal_model": bool,
    "load_col": lambda value: True,
    **{
        f"{name}_FIELD": lambda value: any(str(value).split(":")[0] in column.names for column in COLUMNS)
        for name in ("USER_ID", "ITEM_ID", "RATING", "TIME")
    },
}
"""What this trainer does anyway, where the value is as said here."""
EIGHT_ONE_ONE = [0.8, 0.1, 0.1]
