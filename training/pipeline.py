"""From a dataset directory to a published snapshot: the stages behind the commands.

A stage that was finished before is not repeated: with `resume`, phases read their checkpoints, so `evaluate` and
`export` are the same road as `run`, walked on from where the run stands.
"""

from __future__ import annotations

import json
import logging
import resource
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model_store.files import replace_file
from model_store.manifest import Training
from model_store.store import Store
from training.config import RunConfig, model_settings
from training.data.dataset import Dataset, load_dataset
from training.data.events import with_events
from training.data.features import FeatureMatrix, find_features
from training.data.interactions import Interactions, find_interactions, read_interactions
from training.data.removed import with_masked_features, without_modalities
from training.data.shuffled import with_shuffled_features
from training.data.splits import Split, everything, split_dataset, with_valid_in_train
from training.encoders.bars import StageBars
from training.encoders.extract import check_made_features, extract_features
from training.errors import TrainingError
from training.evaluation.per_user import save_per_user
from training.evaluation.protocol import Evaluation, evaluate, evaluate_both
from training.export.build import build_draft
from training.export.candidate_index import with_candidate_index
from training.export.explain import explained
from training.export.measure import measured
from training.export.publish import publish
from training.fit.run import Run
from training.models.protocol import FittedModel, Recipe
from training.models.registry import recipe_for
from training.report.environment import environment
from training.report.write import snapshot_files, write_report
from training.same_data import digest_of_test

logger = logging.getLogger(__name__)

POSITIVE_SHARE = 0.7
"""Without `min_rating` and without a given split, ratings from this share of the highest one count as positive: 3.5 of
5, 7 of 10. A given split was drawn over what should count, so there every line does."""

SERVED = {"candidates", "routing", "routed_variance_share", "terms", "modalities"}
"""What `metrics.json` keeps of the manifest, so that a run's report needs no store."""

JOINED = "joined"
"""Where in the run's directory the model that is fitted with the validation part has its checkpoints."""

OF_THE_EXPORT = ("explanation", "served", "snapshot_mb")
"""What `metrics.json` has from the last export; evaluating the same checkpoints again leaves it as it is."""


@dataclass(frozen=True)
class Prepared:
    """A run's input."""

    dataset: Dataset
    split: Split
    recipe: Recipe
    settings: Any
    join_valid: bool = False
    """Whether the test may know the validation positives."""


def device_of(name: str) -> torch.device:
    """The device for `auto`, `cpu`, `cuda` or `cuda:1`.

    Raises:
        TrainingError: it is none of these, or not there.

    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    problem = f"expected a device out of auto, cpu and cuda, found {name!r}"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise TrainingError(problem) from error
    if device.type not in ("cpu", "cuda"):
        raise TrainingError(problem)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise TrainingError("expected a CUDA device, torch finds none")
        if (device.index or 0) >= (count := torch.cuda.device_count()):
            raise TrainingError(f"expected a device out of cuda:0 to cuda:{count - 1}, found {name!r}")
    return device


def prepare(config: RunConfig, run: Run, store: Path) -> Prepared:
    """Read, make the features of raw texts and pictures that are missing, split, and check what the model needs."""
    recipe = recipe_for(config.model)
    settings = model_settings(recipe.config_type, config.settings)
    dataset = read(config)
    dataset = replace(dataset, features=features_of(config, dataset, run, store))
    dataset = without_modalities(dataset, config.without)
    if config.mask_features:
        dataset = with_masked_features(dataset, config.mask_features, seed=config.seed)
    if config.shuffle_features:
        dataset = with_shuffled_features(dataset, seed=config.seed)
    recipe.check(dataset)
    split = split_dataset(dataset, config.split, seed=config.seed)
    return Prepared(dataset, split, recipe, settings, config.join_valid)


def read(config: RunConfig) -> Dataset:
    """The dataset, with ratings turned into positives and the events joined."""
    threshold = config.min_rating
    if threshold is None:
        found = read_interactions(find_interactions(config.data)).interactions
        if found.rating is not None and found.given_split is None:
            threshold = POSITIVE_SHARE * float(found.rating.max())
            _tell_what_is_dropped(config.data, found, threshold)
    dataset = load_dataset(config.data, min_rating=threshold, features_directory=config.features)
    places = [config.data] if config.features is None else [config.data, config.features]
    check_made_features(dataset, find_features(*places), data=config.data)
    return with_events(dataset, config.events) if config.events else dataset


def _tell_what_is_dropped(data: Path, found: Interactions, threshold: float) -> None:
    """A warning where a threshold that nobody asked for drops most lines: ratings may be counts, or hours."""
    assert found.rating is not None
    kept = found.rating >= threshold
    if 2 * np.count_nonzero(kept) < len(kept):
        logger.warning(
            "%s: %d of %d ratings are below %g (%g of the highest) and do not count, which leaves %d of %d users; "
            "--min-rating sets another threshold, 0 keeps all of what is not negative",
            *(data, np.count_nonzero(~kept), len(kept), threshold, POSITIVE_SHARE),
            *(len(np.unique(found.user_row[kept])), len(np.unique(found.user_row))),
        )


def features_of(config: RunConfig, dataset: Dataset, run: Run, store: Path) -> dict[str, FeatureMatrix]:
    """The dataset's arrays; what texts and pictures lack, through the encoders that the service uses too."""
    for setting, asked, modality in (("text", config.text, "textual"), ("image", config.image, "visual")):
        if asked != "default" and modality in dataset.features:
            logger.warning(
                "%s = %s has no effect: the %s features are read from their array; without=[%s] leaves them out",
                *(setting, json.dumps(asked), modality, json.dumps(modality)),
            )
    text = None if config.text == "none" or "textual" in dataset.features else config.text
    image = None if config.image == "none" or "visual" in dataset.features else config.image
    if text is None and image is None:
        return dataset.features
    out = config.features or run.directory / "features"
    progress = None if run.progress is None else StageBars(run.progress)
    made = extract_features(dataset, store, text=text, image=image, out=out, progress=progress)
    return dict(sorted((dataset.features | made).items()))


def fit(prepared: Prepared, run: Run) -> FittedModel:
    """The measured model: fitted on train, chosen on valid."""
    return prepared.recipe.fit(prepared.dataset, prepared.split, prepared.settings, run)


def evaluation(prepared: Prepared, fitted: FittedModel, run: Run) -> dict[str, Evaluation]:
    """Full-ranking evaluation of valid and test; with `join_valid` the test is of the model fitted on both."""
    present = [matrix.present for matrix in prepared.dataset.features.values()]
    if not prepared.join_valid:
        return evaluate_both(fitted.score_block, prepared.split, present=present)
    joined = with_valid_in_train(prepared.dataset, prepared.split)
    apart = replace(run, directory=run.directory / JOINED)
    again = prepared.recipe.refit(fitted, prepared.dataset, joined, prepared.settings, apart)
    return {
        "valid": evaluate(fitted.score_block, prepared.split, "valid", present=present),
        "test": evaluate(again.score_block, joined, "test", present=present),
    }


def write_metrics(
    run: Run, prepared: Prepared, fitted: FittedModel, parts: dict[str, Evaluation], *, seconds: float
) -> dict[str, Any]:
    """`metrics.json`: the promised fields, the strata of the test, and the facts of the training; `per_user.npz`.

    `seconds` is what fitting took, in all processes that it took.
    """
    facts = fitted.training_facts()
    strata, before = parts["test"].strata_means(), measured_before(run)
    metrics: dict[str, Any] = {
        "valid": parts["valid"].means(),
        "test": parts["test"].means(),
        "cold": strata.get("cold-among-cold", {}),
        "tail": strata.get("tail", {}),
        "epochs": facts.get("epochs", 0),
        "seconds_per_epoch": facts.get("seconds_per_epoch", 0.0),
        "seconds": round(max(seconds, before.get("seconds", 0.0)), 2),
        "peak_memory_mb": max(peak_memory_mb(), before.get("peak_memory_mb", 0.0)),
        "stage_switch_epoch": facts.get("stage_switch_epoch"),
        "strata": strata,
        "split": {
            "name": prepared.split.name,
            "seed": prepared.split.seed,
            "join_valid": prepared.join_valid,
            "test": digest_of_test(prepared.dataset, prepared.split),
        },
        "model": prepared.recipe.name,
        "evaluated": "valid: the model fitted on the training part; test: "
        + ("fitted again with the validation part" if prepared.join_valid else "the same, not the refitted one"),
        "training": facts,
        "data": data_facts(prepared.dataset),
        "machine": environment(),
        **{name: before[name] for name in OF_THE_EXPORT if name in before},
    }
    save_per_user(run.directory, parts)
    save_metrics(run, metrics)
    return metrics


def save_metrics(run: Run, metrics: dict[str, Any]) -> None:
    """Write `metrics.json` and `report.html`; `explanation` and `served` join once the served form is measured."""
    replace_file(run.directory / "metrics.json", (json.dumps(metrics, indent=1) + "\n").encode())
    write_report(run.directory)


def measured_before(run: Run) -> dict[str, Any]:
    """`metrics.json` of the same run as it was left before; empty for a new one, and for one that was damaged."""
    path = run.directory / "metrics.json"
    if not run.resume or not path.exists():
        return {}
    try:
        measured: dict[str, Any] = json.loads(path.read_bytes())
    except ValueError:  # it is about to be written anew
        logger.warning("%s is damaged: what was measured at export is lost", path)
        return {}
    return measured


def data_facts(dataset: Dataset) -> dict[str, Any]:
    """Name and counts of what was read, for reports."""
    return {
        "name": dataset.name,
        "users": dataset.n_users,
        "items": dataset.n_items,
        "interactions": len(dataset.interactions),
        "content": {
            name: {
                "items": int(matrix.present.sum()),
                "width": matrix.values.shape[1],
                **({"encoder": matrix.encoder} if matrix.encoder else {}),
            }
            for name, matrix in dataset.features.items()
        },
    }


def export(
    config: RunConfig, prepared: Prepared, fitted: FittedModel, metrics: dict[str, Any], run: Run, store: Path
) -> str:
    """Refit on everything (unless switched off), measure the stored form, publish; returns the snapshot's id."""
    interactions = prepared.split
    if config.refit:
        interactions = everything(prepared.dataset, seed=config.seed)
        fitted = prepared.recipe.refit(fitted, prepared.dataset, interactions, prepared.settings, run)
    measures: dict[str, dict[str, float | None]] = {
        part: {name: value for name, value in metrics[part].items() if isinstance(value, int | float)}
        for part in ("valid", "test", "cold", "tail")
        if metrics[part]
    }
    draft, files = build_draft(
        prepared.recipe.name,
        fitted,
        prepared.dataset,
        interactions,
        history_cap=getattr(prepared.settings, "history_cap", 1000),
        metrics=measures,
        training=Training(
            seed=config.seed,
            config={
                "split": prepared.split.name,
                "refit": config.refit,
                "settings": prepared.settings.model_dump(mode="json"),
                "dataset": prepared.dataset.name,
            },
            refit=config.refit,
        ),
    )
    with run.bar("candidate recall", 1) as advance:
        draft = measured(draft, seed=config.seed, categories=prepared.dataset.items.categories)
        draft, files = with_candidate_index(draft, files, seed=config.seed)
        advance(f"{draft.manifest.candidates.recall.get('recall@20', 1.0):.4f}")
    with run.bar("explanations", 1) as advance:
        draft = explained(draft, fitted, data=config.data, user_ids=prepared.dataset.user_ids, seed=config.seed)
        advance()
    metrics["explanation"] = draft.manifest.explanation
    metrics["served"] = draft.manifest.model_dump(mode="json", include=SERVED)
    save_metrics(run, metrics)
    snapshot = publish(store, draft, prepared.dataset, files | snapshot_files(run.directory, metrics, draft.manifest))
    files_of = Store(store).open(snapshot, verify="size").manifest.files
    metrics["snapshot_mb"] = round(sum(file.bytes for file in files_of.values()) / 1e6, 2)
    save_metrics(run, metrics)
    return snapshot


def peak_memory_mb() -> float:
    """The process's largest resident memory so far, in MiB (the kernel counts in KiB on Linux, in bytes on macOS)."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)
