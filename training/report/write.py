"""Puts the report together, in two forms of one page.

The run directory's report has everything. The snapshot's has nothing of the clock or of the machine: it is part of the
content that the snapshot's id is the hash of, and equal runs have equal ids.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model_store.manifest import ManifestDraft
from training.report import fitting, quality, serving
from training.report.environment import environment
from training.report.facts import RunFacts, read_history, read_run, without_the_clock
from training.report.model_card import model_card
from training.report.page import Section, page, table

FILE = "report.html"
CARD = "MODEL_CARD.md"
CURVES = "history.json"


def report_page(facts: RunFacts, *, made_with: Mapping[str, str] | None = None) -> str:
    """The page as HTML, a function of the facts alone.

    Args:
        facts: of the run.
        made_with: the environment; left out where it is None.

    """
    sections = [
        quality.metrics(facts),
        quality.strata(facts),
        fitting.curves(facts),
        fitting.routing(facts),
        serving.experts(facts),
        serving.retrieval(facts),
        serving.explanations(facts),
        serving.item_item(facts),
        quality.data(facts),
        Section("Environment", [table(["fact", "value"], list(made_with.items()))] if made_with else []),
        quality.configuration(facts),
    ]
    lead = "How the model was fitted, how well it ranks, and how far its explanations hold."
    return page(facts.name, lead, quality.key_numbers(facts), sections)


def write_report(directory: Path) -> Path:
    """Write `report.html` into a run directory; returns its path.

    Raises:
        ReportError: the run has not been evaluated.

    """
    path = directory / FILE
    path.write_text(report_page(read_run(directory), made_with=environment()), encoding="utf-8")
    return path


def snapshot_files(directory: Path, metrics: Mapping[str, Any], manifest: ManifestDraft) -> dict[str, bytes]:
    """The report, the model card and the fit's history as files of a snapshot, equal for equal runs.

    Args:
        directory: of the run, for its history.
        metrics: as in `metrics.json`.
        manifest: of the snapshot, measured.

    """
    facts = RunFacts(
        history=read_history(directory),
        metrics=without_the_clock(metrics),
        config={"model": manifest.model, "seed": manifest.training.seed, **manifest.training.config},
    )
    history = {phase: [without_the_clock(record) for record in records] for phase, records in facts.history.items()}
    return {
        FILE: report_page(facts).encode(),
        CARD: model_card(facts, manifest).encode(),
        CURVES: json.dumps(history, separators=(",", ":")).encode(),
    }
