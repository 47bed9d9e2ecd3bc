"""The report's sections on quality and data: all metrics, the strata of the test, what the run was given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tomli_w

from training.report.charts import bars
from training.report.facts import RunFacts
from training.report.page import Section, code, figure, paragraph, table, value_text

PARTS = ("valid", "test", "cold", "tail")
_SHOWN = ("recall@20", "ndcg@20")


def key_numbers(facts: RunFacts) -> dict[str, str]:
    """What stands at the top of the page."""
    test = facts.metrics.get("test") or {}
    training = facts.metrics.get("training") or {}
    numbers = {
        "Recall@20, test": test.get("recall@20"),
        "NDCG@20, test": test.get("ndcg@20"),
        "Recall@20, tail items": (facts.metrics.get("tail") or {}).get("recall@20"),
        "Candidate recall@20": ((facts.served.get("candidates") or {}).get("recall") or {}).get("recall@20"),
        "Routed variance share": facts.served.get("routed_variance_share"),
        "Steps": training.get("steps"),
        "Stage switch, step": training.get("stage_switch_step"),
    }
    return {name: value_text(value) for name, value in numbers.items() if value is not None}


def metrics(facts: RunFacts) -> Section:
    """All measures of valid and test, and of cold and tail items."""
    measured = {part: facts.metrics[part] for part in PARTS if facts.metrics.get(part)}
    names = list(dict.fromkeys(name for values in measured.values() for name in values))
    rows = [[name, *(values.get(name) for values in measured.values())] for name in names]
    split = facts.metrics.get("split") or {}
    text = (
        f"Full ranking without sampling; split {split.get('name', 'unknown')}, seed {split.get('seed', 'unknown')}. "
        f"Evaluated: {facts.metrics.get('evaluated', 'the fitted model')}."
    )
    return Section("Quality", [paragraph(text), table(["measure", *measured], rows)])


def strata(facts: RunFacts) -> Section:
    """The test by kinds of items and of users."""
    found: Mapping[str, Any] = facts.metrics.get("strata") or {}
    if not found:
        return Section("Strata", [])
    groups = {name: {key: v[name] for key, v in found.items() if v.get(name) is not None} for name in _SHOWN}
    columns = list(next(iter(found.values())))
    rows = [[name, *(values.get(column) for column in columns)] for name, values in found.items()]
    text = (
        "Head, middle and tail are items by their number of interactions in training; cold items have none. "
        "cold-among-cold ranks cold items among themselves. Short and long histories part users at the median."
    )
    drawing = bars({name: values for name, values in groups.items() if values})
    return Section(
        "Strata", [paragraph(text), figure(drawing, "Test quality by stratum."), table(["stratum", *columns], rows)]
    )


def data(facts: RunFacts) -> Section:
    """Counts of the dataset."""
    if not facts.data:
        return Section("Data", [])
    rows = [[name, facts.data.get(name)] for name in ("name", "users", "items", "interactions")]
    content = facts.data.get("content") or {}
    parts = [table(["fact", "value"], rows)]
    if content:
        parts.append(
            table(
                ["modality", "items that have it", "width"], [[k, v["items"], v["width"]] for k, v in content.items()]
            )
        )
    return Section("Data", parts)


def configuration(facts: RunFacts) -> Section:
    """Everything that was set."""
    return Section("Configuration", [code(tomli_w.dumps(without_nothing(facts.config)))])


def without_nothing(config: Mapping[str, Any]) -> dict[str, Any]:
    """TOML has no null: what is not set is not written."""
    return {
        name: without_nothing(value) if isinstance(value, Mapping) else value
        for name, value in config.items()
        if value is not None
    }
