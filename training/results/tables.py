"""What the tables of the page are: which columns, compared with what, for whom."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import entropy

from training.evaluation.per_user import OVERALL
from training.evaluation.protocol import AMONG_COLD
from training.results.row import ResultsError, Row
from training.results.significance import Entry

REFERENCE = "magnet"
"""Label of the rows that the others are compared with: the default model."""

Value = Callable[[Row], Any]


@dataclass(frozen=True)
class Column:
    """One figure of a run."""

    title: str
    value: Value
    digits: int = 4

    def cell(self, entry: Entry) -> str:
        """Mean over seeds ± standard deviation; empty where no run has it, a dash where some lack it."""
        found = [self.value(row) for row in entry.rows]
        known = [float(value) for value in found if isinstance(value, int | float)]
        if not known:
            return ""
        if len(known) < len(found):
            return "–"
        spread = f" ± {np.std(known, ddof=1):.{self.digits}f}" if len(known) > 1 and self.digits > 2 else ""
        return f"{np.mean(known):,.{self.digits}f}{spread}"


@dataclass(frozen=True)
class TableSpec:
    """A table of the page."""

    title: str
    text: str
    columns: tuple[Column, ...]
    groups: tuple[str, ...]
    """Users or items for which the reference is compared with every other row."""


def at(*path: str) -> Value:
    """What lies at this path of a row; None where the path ends early."""

    def value(row: Row) -> Any:
        found: Any = getattr(row, path[0])
        for name in path[1:]:
            found = found.get(name) if isinstance(found, Mapping) else None
        return found

    return value


def experts_served(row: Row) -> float | None:
    """How many experts their mean weights among served items amount to: the exponential of the weights' entropy."""
    served: Any = row.served
    roles = {term["name"]: term["role"] for term in served.get("terms", ())}
    weights = served.get("routing", {}).get("mean_weight", {})
    routed = [weight for name, weight in weights.items() if roles[name] != "base"]
    return float(np.exp(entropy(routed))) if routed else None


def in_stratum(group: str) -> tuple[Column, Column]:
    """Recall and NDCG of a stratum."""
    return (
        Column(f"{group} Recall@20", at("strata", group, "recall@20")),
        Column(f"{group} NDCG@20", at("strata", group, "ndcg@20")),
    )


RANKING = (
    Column("Recall@20", at("test", "recall@20")),
    Column("NDCG@20", at("test", "ndcg@20")),
)
FIT = Column("fit, s", at("seconds"), 0)
COST = (
    Column("epochs", at("epochs"), 0),
    FIT,
    Column("memory, MiB", at("peak_memory_mb"), 0),
    Column("snapshot, MB", at("snapshot_mb"), 1),
)
SHARE = Column("routed share", at("served", "routed_variance_share"), 2)
FROZEN, REBUILT = ("explanation", "perturbation", "graph_frozen"), ("explanation", "perturbation", "graph_rebuilt")

TABLES: dict[str, TableSpec] = {
    "main": TableSpec(
        "Ranking",
        "All models under one protocol, each with its defaults where its line sets nothing; validation chooses the "
        "epoch, and what a fit searches by itself.",
        (
            *RANKING,
            Column("Recall@10", at("test", "recall@10")),
            Column("NDCG@10", at("test", "ndcg@10")),
            Column("valid Recall@20", at("valid", "recall@20")),
            Column("coverage@20", at("test", "coverage@20"), 2),
            *COST,
            Column("candidates hold", at("served", "candidates", "recall", "recall@20")),
        ),
        (OVERALL,),
    ),
    "extras": TableSpec(
        "Ranking with the same extras",
        "Every model with item-item evidence beside it, of a weight that validation chooses, and as many members.",
        (*RANKING, Column("valid Recall@20", at("valid", "recall@20")), *COST[:3]),
        (OVERALL,),
    ),
    "ladder": TableSpec(
        "Ladder",
        "What each part of MAGNET adds, and what it costs.",
        (*RANKING, *COST, Column("latency, ms", at("facts", "latency_ms"), 2), SHARE),
        (OVERALL,),
    ),
    "ablation": TableSpec(
        "Ablations",
        "MAGNET with one part left out or replaced. Load entropy: 1 when all experts are used alike. Pair entropy: 1 "
        "when the router does not choose.",
        (
            *RANKING,
            Column("tail Recall@20", at("strata", "tail", "recall@20")),
            SHARE,
            Column("switch, epoch", at("stage_switch_epoch"), 1),
            Column("load entropy", at("routing", "load_entropy"), 2),
            Column("pair entropy", at("routing", "pair_entropy"), 2),
            Column("effective experts", at("routing", "effective_experts"), 1),
            Column("smallest load", at("routing", "min_load"), 3),
        ),
        (OVERALL,),
    ),
    "cold": TableSpec(
        "Cold items",
        "A fifth of the items has no interaction in training. `cold-among-cold` ranks these items among themselves, "
        "`cold` among all items; `warm` counts the positives of all other items.",
        (
            *in_stratum(AMONG_COLD),
            *in_stratum("cold"),
            *in_stratum("warm"),
            *RANKING,
            FIT,
        ),
        (AMONG_COLD, "cold", "warm"),
    ),
    "routing": TableSpec(
        "Where routing pays",
        "The control is the same model with gates that read the item alone: a weighting that is calibrated by degree "
        "and by which modalities the item has.",
        (
            *RANKING,
            *(
                Column(f"{name} Recall@20", at("strata", name, "recall@20"))
                for name in ("missing-modality", "tail", "cold")
            ),
            Column("cold-among-cold Recall@20", at("strata", AMONG_COLD, "recall@20")),
            SHARE,
        ),
        (OVERALL, "missing-modality", "tail", "cold"),
    ),
    "explanation": TableSpec(
        "Explanations",
        "Rank correlation (Spearman) of the amount attributed to a modality with the drop of the score when the model "
        "runs again without it, over served pairs; and, where a catalogue has planted drivers, how often amounts name "
        "them (balanced accuracy). Experts served: how many their mean weights among served items amount to; a "
        "pair keeps as many as there are modalities.",
        (
            Column("whole", at(*FROZEN, "whole"), 3),
            Column("routed", at(*FROZEN, "routed"), 3),
            Column("graph rebuilt, whole", at(*REBUILT, "whole"), 3),
            Column("graph rebuilt, routed", at(*REBUILT, "routed"), 3),
            Column("gates alone", at(*FROZEN, "gates_alone", "whole"), 3),
            Column("random weights", at(*FROZEN, "random_weights", "whole"), 3),
            Column("recovery, whole", at("explanation", "recovery", "whole"), 3),
            Column("recovery, routed", at("explanation", "recovery", "routed"), 3),
            Column("recovery, gates alone", at("explanation", "recovery", "gates_alone"), 3),
            Column("recovery, random", at("explanation", "recovery", "random_weights"), 3),
            Column("oracle", at("explanation", "recovery", "bayes_oracle"), 3),
            Column("experts served", experts_served, 1),
        ),
        (),
    ),
}


def entries(rows: Iterable[tuple[Any, Row]], table: str) -> list[Entry]:
    """The rows of one table by label: by their place, then best first.

    Raises:
        ResultsError: a row names a table that does not exist.

    """
    by_label: dict[str, list[tuple[Any, Row]]] = {}
    for path, row in rows:
        if unknown := set(row.tables) - TABLES.keys():
            raise ResultsError(
                f"{path}: expected tables out of {', '.join(TABLES)}, found {', '.join(sorted(unknown))}"
            )
        if table in row.tables:
            by_label.setdefault(row.label, []).append((path, row))
    found = []
    for label, members in by_label.items():
        members.sort(key=lambda member: member[1].seed)
        found.append(Entry(label, tuple(row for _, row in members), tuple(path for path, _ in members)))
    return sorted(found, key=_order)


def _order(entry: Entry) -> tuple[float, float, str]:
    place = entry.rows[0].place
    return (np.inf if place is None else place, -float(np.mean([r.test["recall@20"] for r in entry.rows])), entry.label)
