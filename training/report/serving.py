"""The report's sections on the exported form: who carries the score, retrieval, explanations, the item-item term."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.report.charts import bars, heat_maps
from training.report.facts import RunFacts
from training.report.page import Section, figure, heading, paragraph, table

RECOVERY = {
    "whole": "whole score",
    "routed": "routed experts",
    "gates_alone": "gate weights alone",
    "random_weights": "random weights",
    "majority_class": "most frequent driver",
    "chance": "chance",
    "bayes_oracle": "oracle that knows the rules",
}
_MASKED = {
    "graph_frozen": "Content graphs kept",
    "graph_rebuilt": "Content graphs rebuilt",
}


def experts(facts: RunFacts) -> Section:
    """Terms by modality, roles by modality, and how much each term is used."""
    served = facts.served
    terms, modalities = served.get("terms") or [], [one["name"] for one in served.get("modalities") or []]
    use = served.get("routing") or {}
    parts: list[str] = []
    of_score = use.get("share_of_score") or {}
    if len(terms) > 1 and any(term["modalities"] for term in terms):
        names = [term["name"] for term in terms]
        mix = [[term["modalities"].get(name) or 0.0 for name in modalities] for term in terms]
        maps = {"What each term is made of": (names, modalities, mix)}
        if of_score:
            roles = list(dict.fromkeys(term["role"] for term in terms))
            maps["Share of the served score, by role"] = (
                roles,
                modalities,
                _by_role(terms, roles, modalities, of_score),
            )
        parts.append(figure(heat_maps(maps), "Role by modality: nominal shares, and weighted by measured use."))
    measures = {
        "Chosen for (share of pairs)": use.get("share_of_pairs"),
        "Mean gate weight": use.get("mean_weight"),
        "Share of the score": of_score,
    }
    shown = {title: values for title, values in measures.items() if values}
    if len(terms) > 1 and shown:
        columns = ["term", *(title.lower() for title in shown)]
        parts.append(table(columns, [[term["name"], *(v.get(term["name"]) for v in shown.values())] for term in terms]))
    if by_modality := use.get("share_of_score_by_modality"):
        parts.append(figure(bars({"Share of the served score, by modality": by_modality}), "Modalities in the score."))
    if (share := served.get("routed_variance_share")) is not None:
        parts.append(
            paragraph(
                f"Routed experts carry {share:.1%} of the variance of the score within a user's candidates; "
                "the rest comes from terms that are always on."
            )
        )
    return Section("Experts in use", parts)


def retrieval(facts: RunFacts) -> Section:
    """How much of the exact answer the candidates hold."""
    candidates = facts.served.get("candidates") or {}
    recall = {name: value for name, value in (candidates.get("recall") or {}).items() if value is not None}
    if not recall:
        return Section("Candidate recall", [])
    depth = candidates["depth"]
    steered = {name: value for name, value in recall.items() if "/steered" in name}
    groups = {f"At depth {depth}": {name: value for name, value in recall.items() if name not in steered}}
    if steered:
        groups["Steered, each steering from its own depth"] = steered
    return Section(
        "Candidate recall",
        [
            paragraph(f"Share of the exact top 20, all terms, that {depth} nearest items and neighbours contain."),
            figure(bars(groups, limit=1.0), "Candidate recall by case."),
        ],
    )


def explanations(facts: RunFacts) -> Section:
    """Planted drivers recovered, amounts against perturbation, roles checked; each beside its controls."""
    found = facts.metrics.get("explanation") or {}
    parts: list[str] = []
    if recovery := found.get("recovery"):
        groups = {"Driver named rightly (share of users)": _named(recovery, RECOVERY)}
        if recovery.get("by_kind"):
            groups["By planted driver, whole score"] = recovery["by_kind"]
        parts += [
            heading("Planted truth"),
            paragraph(
                f"The demo plants what drives each person; {recovery.get('users', 0):,.0f} of them were asked about."
            ),
            figure(bars(groups, limit=1.0), "How often the largest amount names the planted driver."),
        ]
    if perturbation := found.get("perturbation"):
        groups = {
            title: values for key, title in _MASKED.items() if (values := _correlations(perturbation.get(key) or {}))
        }
        if groups:
            parts += [
                heading("Amounts against perturbation"),
                paragraph(
                    "Rank correlation (Spearman) of the amount attributed to a modality with the drop of the score "
                    f"when the model runs again without it. Pairs: {_pairs(perturbation.get('pairs') or {})}."
                ),
                figure(bars(groups, limit=1.0), "Faithfulness of amounts, with two controls."),
            ]
    if checks := found.get("role_check"):
        rows = [[name, *(check.get(key) for key in ("led", "others", "holds"))] for name, check in checks.items()]
        columns = ["without", "experts led by it move", "others move", "every led expert moves more"]
        parts += [heading("Roles"), table(columns, rows)]
    return Section("Explanations", parts)


def item_item(facts: RunFacts) -> Section:
    """How the item-item term was made, where there is one."""
    training = facts.metrics.get("training") or {}
    term = training.get("item_item")
    if not isinstance(term, Mapping):
        return Section("Item-item term", [])
    rows = [[name, value] for name, value in {"weight": training.get("item_item_weight"), **term}.items()]
    return Section("Item-item term", [table(["fact", "value"], rows)])


def _by_role(
    terms: list[Mapping[str, Any]], roles: list[str], modalities: list[str], use: Mapping[str, float]
) -> list[list[float]]:
    """(roles × modalities) sums over the role's terms of use times nominal share."""
    return [
        [
            sum(use.get(t["name"], 0.0) * (t["modalities"].get(name) or 0.0) for t in terms if t["role"] == role)
            for name in modalities
        ]
        for role in roles
    ]


def _named(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, float]:
    return {label: values[key] for key, label in names.items() if values.get(key) is not None}


def _correlations(values: Mapping[str, Any]) -> dict[str, float]:
    """Of one way of masking: all modalities, each one, and the controls; the whole score and its routed part."""
    cases = {"all": values, **(values.get("by_modality") or {})}
    cases |= {name.replace("_", " "): values.get(name) or {} for name in ("gates_alone", "random_weights")}
    return {
        f"{case}, {part}": found[part]
        for case, found in cases.items()
        for part in ("whole", "routed")
        if found.get(part) is not None
    }


def _pairs(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"
