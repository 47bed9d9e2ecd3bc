"""Answers in words: the JSON bytes of a ranked answer."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

import orjson

from model_store.scoring import UserState
from service.explanation import because_of, evidence
from service.ranking import MAX_RANKS, terms_of
from service.recommender import Answer
from service.schemas.queries import RankingQuery


def render(answer: Answer, wish: RankingQuery) -> bytes:
    """The body of an answer, in the field order that the interface documents."""
    return orjson.dumps(document(answer, wish))


def document(answer: Answer, wish: RankingQuery) -> dict[str, Any]:
    """The answer as plain values; see `schemas.answers.Answer`."""
    asker = answer.asker
    found: dict[str, Any] = {
        "user": asker.user_id,
        "snapshot": answer.view.served.id,
        "recommendation_id": answer.recommendation_id,
        "strategy": asker.strategy,
        "events_used": asker.events_used,
    }
    if answer.exploration is not None:
        found["exploration"] = answer.exploration
    found["complete"] = answer.complete
    found["degraded"] = list(answer.degraded)
    state = evidence(answer.view, asker.history_rows) if wish.explain == "full" else None
    found["items"] = [_item(answer, position, wish.explain, state) for position in range(len(answer.page))]
    if not answer.complete:
        found["shortfall"] = {
            "requested": answer.requested,
            "returned": len(answer.page),
            "because": f"{answer.available} items pass the filters; ranks start at {answer.offset + 1}",
        }
    if (link := _next_link(answer, wish)) is not None:
        found["next"] = link
    return found


def _item(answer: Answer, position: int, explain: str, state: UserState | None) -> dict[str, Any]:
    page = answer.page
    row = int(page.rows[position])
    display = answer.view.display(row)
    item: dict[str, Any] = {
        "item": display.item_id,
        "rank": int(answer.ranks[position]),
        "score": float(page.scores[position]),
        "title": display.title,
        "image": display.image,
    }
    if inferred := answer.view.inferred(row):
        item["inferred"] = inferred
    if explain != "none":
        item["experts"] = terms_of(page, position, answer.heads)
    if explain == "full":
        amounts = page.modality_amounts[position].tolist()
        item["modality_amounts"] = dict(zip(answer.view.served.modalities, amounts, strict=True))
        item["because"] = because_of(answer.view, state, row)
    return item


def _next_link(answer: Answer, wish: RankingQuery) -> str | None:
    """The page after this one; None for sessions and where nothing follows."""
    reached = wish.offset + wish.k
    room = min(wish.k, MAX_RANKS - reached)
    if answer.asker.user_id is None or room <= 0 or reached >= answer.available:
        return None
    asked = wish.model_dump(include=set(RankingQuery.model_fields), exclude_defaults=True, mode="json")
    pairs = asked | {"offset": reached, "k": room, "at": answer.pin.text()}
    query = urlencode({name: _plain(value) for name, value in pairs.items()}, doseq=True, quote_via=quote)
    return f"/recommend/{quote(answer.asker.user_id, safe='')}?{query}"


def _plain(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value
