"""The report's sections on fitting: curves by phase, and what the router did on the way."""

from __future__ import annotations

from training.report.charts import lines, shares
from training.report.facts import Record, RunFacts, series, switch_steps
from training.report.page import Section, figure, heading, paragraph, table

_NOT_A_CURVE = ("step", "stage_switch")
_QUALITY = {"valid/recall@20": "Recall@20", "valid/ndcg@20": "NDCG@20"}
_ENTROPIES = {"load_entropy": "of the mean load", "pair_entropy": "of one pair's gate"}
_PHASES = {
    "held-out": "The base, fitted without some of everybody's positives: on those the router learns.",
    "joint": "Base, experts and router together, fitted without some of everybody's positives.",
    "router": "Experts and router, on the frozen base.",
    "base": "The base that is measured, fitted on all of the training part.",
    "refit": "The base once more, on all interactions: this one is served.",
}
SWITCH = "second stage begins"


def curves(facts: RunFacts) -> Section:
    """Losses and validation quality, phase by phase."""
    parts: list[str] = []
    for name, records in facts.history.items():
        losses = {key: series(records, key) for key in _keys(records) if _is_loss(key, records)}
        parts_of_it = {key: found for key, found in losses.items() if key != "loss"}
        quality = {label: series(records, key) for key, label in _QUALITY.items() if series(records, key)[0]}
        total = {"loss": losses["loss"]} if "loss" in losses else {}
        wanted = {"Loss": total, "What it adds up": parts_of_it, "Validation": quality}
        panels = {title: found for title, found in wanted.items() if found}
        if panels:
            drawing = lines(panels, marks=switch_steps(records), mark=SWITCH)
            said = [paragraph(text, soft=True) for start, text in _PHASES.items() if name.startswith(start)]
            parts += [
                heading(f"Phase {name}"),
                *said,
                figure(drawing, f"Loss and validation quality over steps, {name}."),
            ]
    phases = (facts.metrics.get("training") or {}).get("phases") or {}
    if phases:
        columns = list(dict.fromkeys(key for phase in phases.values() for key in phase))
        rows = [[name, *(phase.get(column) for column in columns)] for name, phase in phases.items()]
        parts.append(table(["phase", *(column.replace("_", " ") for column in columns)], rows))
    if not parts:
        parts.append(paragraph("This model is not fitted step by step, or its phases log nothing."))
    return Section("Loss and validation", parts)


def routing(facts: RunFacts) -> Section:
    """Entropies and expert load over the router's steps, with the stage switch."""
    parts: list[str] = []
    for records in facts.history.values():
        marks = switch_steps(records)
        entropies = {label: series(records, key) for key, label in _ENTROPIES.items() if series(records, key)[0]}
        if entropies:
            panels = {"Entropy, 1 = uniform": entropies}
            if (effective := series(records, "effective_experts"))[0]:
                panels["Effective number of experts"] = {"exp of the load's entropy": effective}
            where = f"the second stage begins at step {marks[0]:.0f}" if marks else "the second stage was not reached"
            parts.append(figure(lines(panels, marks=marks, mark=SWITCH), f"Routing entropies over steps; {where}."))
        if loads := _by_expert(records, "load/"):
            parts.append(figure(shares(loads, marks=marks, mark=SWITCH), "Each expert's share of the gate over steps."))
            used = _by_expert(records, "use/")
            rows = [
                [expert, values[0], values[-1], used[expert][1][-1] if expert in used else None]
                for expert, (_, values) in loads.items()
            ]
            parts.append(table(["expert", "load at first", "load at last", "share of pairs at last"], rows))
    return Section("Routing over time", parts)


def _keys(records: list[Record]) -> list[str]:
    return list(dict.fromkeys(key for record in records for key in record if key not in _NOT_A_CURVE))


def _is_loss(key: str, records: list[Record]) -> bool:
    """The loss and its parts are logged in one record with it; routing statistics are not."""
    return "/" not in key and any(key in record and "loss" in record for record in records)


def _by_expert(records: list[Record], prefix: str) -> dict[str, tuple[list[float], list[float]]]:
    return {key.removeprefix(prefix): series(records, key) for key in _keys(records) if key.startswith(prefix)}
