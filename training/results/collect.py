"""From a run directory to a row."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from training.config import read_run_config
from training.evaluation.per_user import Groups, load_per_user
from training.report.facts import RunFacts, read_run
from training.results.row import ResultsError, Row

ROUTER = ("load_entropy", "pair_entropy", "effective_experts", "min_load", "max_load")
PLACES = {"data", "features", "events"}
DIGITS = 6


def collect(
    directory: Path,
    *,
    tables: Sequence[str],
    label: str | None = None,
    place: int | None = None,
    facts: Mapping[str, float] | None = None,
    remark: str = "",
) -> tuple[Row, Groups]:
    """The row of an evaluated run, and its users' test metrics.

    Args:
        directory: of the run.
        tables: the tables it goes into.
        label: what they call it; the model's name where omitted.
        place: its position there.
        facts: figures measured elsewhere.
        remark: what a reader has to know before comparing it.

    Raises:
        ResultsError: the run was made before figures of this kind were kept.
        TrainingError: it has not been evaluated.

    """
    run, config = read_run(directory), read_run_config(directory / "config.toml")
    metrics = run.metrics
    try:
        content: Mapping[str, Mapping[str, Any]] = metrics["data"]["content"]
        row = Row(
            label=label or config.model,
            tables=tuple(sorted(set(tables))),
            place=place,
            model=config.model,
            dataset=metrics["data"]["name"],
            data=metrics["data"],
            split=metrics["split"]["name"],
            test_digest=metrics["split"].get("test"),
            seed=config.seed,
            config={
                **config.model_dump(mode="json", exclude=PLACES),
                **({"events": [PurePath(path).name for path in config.events]} if config.events else {}),
            },
            made_features=config.features is None or all(one.get("encoder") for one in content.values()),
            machine=metrics["machine"],
            seconds=round(metrics["seconds"], 1),
            seconds_per_epoch=metrics["seconds_per_epoch"],
            epochs=metrics["epochs"],
            peak_memory_mb=metrics["peak_memory_mb"],
            snapshot_mb=metrics.get("snapshot_mb"),
            stage_switch_epoch=metrics["stage_switch_epoch"],
            valid=rounded(metrics["valid"]),
            test=rounded(metrics["test"]),
            strata=rounded(metrics["strata"]),
            training=rounded(metrics["training"]),
            routing=rounded(router_facts(run)),
            served=rounded(metrics.get("served") or {}),
            explanation=metrics.get("explanation") or {},
            facts=dict(facts or {}),
            remark=remark,
        )
    except KeyError as error:
        raise ResultsError(
            f"{directory}: expected {error} in metrics.json; `magnet-train evaluate {directory}` writes it again"
        ) from error
    return row, load_per_user(directory)["test"]


def router_facts(run: RunFacts) -> dict[str, float]:
    """The last values of the routing's statistics; empty for models without a router."""
    found: dict[str, float] = {}
    for records in run.history.values():
        for record in records:
            found |= {name: record[name] for name in ROUTER if name in record}
    return found


def rounded(values: Any) -> Any:
    """`values` with the digits that figures of this kind can have."""
    return json.loads(json.dumps(values), parse_float=lambda text: round(float(text), DIGITS))
