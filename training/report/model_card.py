"""`MODEL_CARD.md`: what a snapshot is, what it is for and what it is not, in Markdown, equal for equal runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tomli_w

from model_store.manifest import ManifestDraft
from training.report.facts import RunFacts
from training.report.page import value_text
from training.report.quality import PARTS, without_nothing
from training.report.serving import RECOVERY

_KINDS = {
    "pair": "a mixture of experts with named roles, gated for every user–item pair, beside terms that are always on",
    "item": "one term per modality, gated by item",
    "plain": "inner products of user and item vectors",
    "item-item": "item-to-item weights applied to a user's history",
    "popularity": "one ranking for everybody, by popularity",
}
_MEASURES = ("recall@10", "recall@20", "ndcg@10", "ndcg@20", "users")

_LIMITS = (
    "Measured offline on logged interactions, which carry the exposure and popularity bias of whatever collected them; "
    "how people react to being shown these items has not been measured.",
    "People without history get popular items; items without interactions are reached through their content only.",
    "An explanation says which evidence the score is made of, not why a person wants an item.",
    "Whether quality or exposure differs between groups of people has not been examined.",
    "Holds histories of users and ids: treat the snapshot as personal data.",
)


def model_card(facts: RunFacts, manifest: ManifestDraft) -> str:
    """The card as Markdown.

    Args:
        facts: of the run, without the clock.
        manifest: of the snapshot, measured.

    """
    parts = [
        f"# Model card: {_line(facts.name)}",
        f"Model `{manifest.model}`, scoring `{manifest.scoring}`: {_KINDS[manifest.scoring]}.",
        *_terms(manifest),
        "## Data",
        *_data(facts, manifest),
        "## Intended use",
        "Ranking the items of this catalogue for its users, with the share of the score that each term contributed. "
        "Not meant for decisions about people, nor for other catalogues: ids and features belong to this one.",
        "## Limits",
        "\n".join(f"- {limit}" for limit in _LIMITS),
        "## Quality",
        *_quality(facts),
        "## Explanations",
        *_explanations(manifest.explanation),
        "## Training",
        f"Seed {manifest.training.seed}; "
        + ("refitted on all interactions before export." if manifest.training.refit else "served as it was measured."),
        "```toml\n" + tomli_w.dumps(without_nothing(manifest.training.config)).strip() + "\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _terms(manifest: ManifestDraft) -> list[str]:
    use = manifest.routing.get("share_of_score")
    used = use if isinstance(use, dict) else {}
    names = [modality.name for modality in manifest.modalities]
    rows = [
        [term.name, term.role, *(term.modalities.get(name) for name in names), used.get(term.name)]
        for term in manifest.terms
    ]
    parts = [_table(["term", "role", *names, "share of score"], rows)]
    if manifest.routed_variance_share is not None:
        parts.append(
            f"For each pair {manifest.top_k_experts} experts count. Routed experts carry "
            f"{manifest.routed_variance_share:.1%} of the variance of the score within a user's candidates."
        )
    return parts


def _data(facts: RunFacts, manifest: ManifestDraft) -> list[str]:
    counts = ", ".join(
        f"{facts.data[name]} {name}" for name in ("users", "items", "interactions") if name in facts.data
    )
    content: Mapping[str, Mapping[str, Any]] = facts.data.get("content") or {}
    rows = [
        [
            modality.name,
            modality.feature_width,
            content.get(modality.name, {}).get("items"),
            "made by an encoder of the store" if modality.encoder else "given with the data",
        ]
        for modality in manifest.modalities
        if modality.kind == "content"
    ]
    said = f"Dataset {_line(manifest.dataset)}" + (f": {counts}." if counts else ".")
    return [said, _table(["content", "width", "items that have it", "features"], rows)] if rows else [said]


def _quality(facts: RunFacts) -> list[str]:
    measured = {part: facts.metrics[part] for part in PARTS if facts.metrics.get(part)}
    rows = [[part, *(values.get(name) for name in _MEASURES)] for part, values in measured.items()]
    split = facts.metrics.get("split") or {}
    return [
        f"Full ranking, split {split.get('name', 'unknown')} (seed {split.get('seed', 'unknown')}). "
        f"Evaluated: {facts.metrics.get('evaluated', 'the fitted model')}. "
        "`cold`: items without training interactions, among themselves; `tail`: the least popular items.",
        _table(["part", *_MEASURES], rows),
    ]


def _explanations(found: Mapping[str, Any]) -> list[str]:
    parts = ["Contributions and amounts sum to the score exactly, by construction."]
    if recovery := found.get("recovery"):
        rows = [[label, recovery[name]] for name, label in RECOVERY.items() if recovery.get(name) is not None]
        parts += [
            f"How often {recovery.get('users', 0)} people's planted driver is named rightly:",
            _table(["read from", "share"], rows),
        ]
    if perturbation := found.get("perturbation"):
        rows = [
            [f"{graph.replace('_', ' ')}, {case}", values.get("whole"), values.get("routed")]
            for graph in ("graph_frozen", "graph_rebuilt")
            if (measured := perturbation.get(graph))
            for case, values in {
                "all": measured,
                **measured.get("by_modality", {}),
                "gate weights alone": measured.get("gates_alone", {}),
                "random weights": measured.get("random_weights", {}),
            }.items()
        ]
        parts += [
            "Rank correlation of amounts with the drop of the score when the model runs again without the modality:",
            _table(["case", "whole score", "routed experts"], rows),
        ]
    if len(parts) == 1:
        parts.append("How faithful they are beyond that has not been measured for this model.")
    return parts


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(_line(value_text(cell)) for cell in line) + " |" for line in lines)


def _line(text: str) -> str:
    """Foreign text on one line, with nothing that Markdown would take for a table, a tag or a link."""
    return "".join(f"\\{letter}" if letter in "|<>[]`*\\" else letter for letter in " ".join(text.split()))
