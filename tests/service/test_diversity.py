"""Diversity is maximal marginal relevance over what the experts see of items, for every scoring kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_store.scoring import PairScorer, scorer_for
from model_store.snapshot import Snapshot
from model_store.store import Store
from tests.support.every_kind import KINDS, write_kind
from tests.support.service_client import in_process, promoted

pytestmark = pytest.mark.anyio
USER = "user/001"


def unit(vector: Any) -> Any:
    length = float(np.linalg.norm(vector))
    return vector / length if length else vector


def likeness(snapshot: Snapshot, one: int, other: int) -> float:
    """The mean cosine over experts, written out."""
    kind = snapshot.manifest.scoring
    if kind == "plain":
        vectors = snapshot.array("item_vectors").astype(float)
        return float(unit(vectors[one]) @ unit(vectors[other]))
    if kind == "item":
        seen = snapshot.array("item_gates").astype(float)[:, :, None] * snapshot.array("item_term_vectors").astype(
            float
        )
        return float(np.mean([unit(seen[one, t]) @ unit(seen[other, t]) for t in range(seen.shape[1])]))
    if kind == "pair":
        return float(np.mean([cosine_of_expert(snapshot, expert, one, other) for expert in range(9)]))
    features = [snapshot.array(f"features_{name}").astype(float) for name in ("visual", "textual")]
    return float(np.mean([unit(rows[one]) @ unit(rows[other]) for rows in features]))


def cosine_of_expert(snapshot: Snapshot, expert: int, one: int, other: int) -> float:
    scorer = scorer_for(snapshot)
    assert isinstance(scorer, PairScorer)
    seen = []
    for row in (one, other):
        parts = snapshot.array("item_parts")[row].astype(float)
        removed = int(scorer.removes[expert])
        vector = np.zeros(parts.shape[1])
        for m in range(len(parts)):
            part = parts[m].copy()
            if removed >= 0:
                part -= parts[removed] @ scorer.residual_maps[removed, m]
            vector += scorer.gain[expert] * scorer.mix[expert, m] * part
        residual = scorer.expert_scale[expert] * snapshot.array("item_experts")[row, expert].astype(float)
        seen.append(unit(np.concatenate([vector, residual])))
    return float(seen[0] @ seen[1])


def by_hand(snapshot: Snapshot, items: list[dict[str, Any]], diversity: float, count: int) -> list[str]:
    """The first `count` of `items`, which stand in the order of their scores."""
    rows = [snapshot.item_row(item["item"]) for item in items]
    scores = np.array([item["score"] for item in items])
    relevance = (scores - scores[-1]) / (scores[0] - scores[-1])
    placed: list[int] = []
    while len(placed) < count:
        values = {
            at: (1 - diversity) * relevance[at]
            - diversity * max([0.0, *(likeness(snapshot, rows[at] or 0, rows[one] or 0) for one in placed)])
            for at in range(len(items))
            if at not in placed
        }
        placed.append(max(values, key=lambda at: (round(values[at], 5), -at)))
    return [items[at]["item"] for at in placed]


@pytest.mark.parametrize("kind", KINDS)
async def test_the_order_is_that_of_maximal_marginal_relevance(kind: str, tmp_path: Path) -> None:
    snapshot = Store(tmp_path).open(promoted(tmp_path, write_kind(tmp_path, kind)))
    async with in_process(tmp_path) as client:
        ranked = (await client.recommend(USER, k=100))["items"]
        for diversity in (0.3, 0.9):
            found = (await client.recommend(USER, k=6, diversity=diversity))["items"]
            assert [item["item"] for item in found] == by_hand(snapshot, ranked, diversity, 6)
            by_item = {item["item"]: item["score"] for item in ranked}
            assert all(item["score"] == by_item[item["item"]] for item in found)
    assert [item["item"] for item in found] != [item["item"] for item in ranked[:6]]
