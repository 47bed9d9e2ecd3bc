"""The structured experts: which roles exist for a list of modalities, and from what mix of streams each starts.

Axes: `E` experts, `M` modalities. Roles after MAGNET's abstract (dominant, balanced, complementary); the templates are
our choice. For behaviour, visual and textual there are three of each, nine in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

Role = Literal["dominant", "balanced", "complementary"]
LEAD = 0.7
PAIR = 0.45


@dataclass(frozen=True)
class StructuredExpert:
    """One expert's role: `template` (M,) sums to 1; `removes` is what a complementary expert regresses out."""

    name: str
    role: Role
    template: tuple[float, ...]
    removes: int | None = None
    tied: tuple[int, ...] = ()


def structured_experts(modalities: Sequence[str]) -> list[StructuredExpert]:
    """The experts for these modalities, behaviour first; one modality has one expert (and needs no router)."""
    count = len(modalities)
    if count == 0:
        raise ValueError("expected at least one modality, found none")
    if count == 1:
        return [StructuredExpert(f"dominant-{modalities[0]}", "dominant", (1.0,))]
    rows = range(count)
    dominant = [
        StructuredExpert(
            f"dominant-{modalities[lead]}",
            "dominant",
            tuple(LEAD if row == lead else (1 - LEAD) / (count - 1) for row in rows),
        )
        for lead in rows
    ]
    alike = 0.5 if count == 2 else PAIR
    rest = 0.0 if count == 2 else (1 - 2 * PAIR) / (count - 2)
    balanced = [
        StructuredExpert(
            "balanced-" + "-".join(modalities[row] for row in pair),
            "balanced",
            tuple(alike if row in pair else rest for row in rows),
            tied=pair,
        )
        for pair in combinations(rows, 2)
    ]
    complementary = [
        StructuredExpert(
            f"complementary-{modalities[said]}",
            "complementary",
            tuple(0.0 if row == said else 1 / (count - 1) for row in rows),
            removes=said,
        )
        for said in rows
    ]
    return dominant + balanced + complementary


def free_experts(modalities: Sequence[str]) -> list[StructuredExpert]:
    """As many experts as there would be roles, without any: the control. Each may mix all modalities."""
    count, alike = len(structured_experts(modalities)), (1 / len(modalities),) * len(modalities)
    return [StructuredExpert(f"free-{number}", "balanced", alike) for number in range(1, count + 1)]
