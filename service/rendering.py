"""Answers in words: the JSON bytes of a ranked answer."""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlencode

import numpy as np
import orjson
from numpy.typing import NDArray

from service.explanation import because_of, evidence
from service.ranking import DECIMALS, MAX_RANKS
from service.recommender import Answer
from service.schemas.queries import RankingQuery
from service.served import TermHead

QUERIES_KEPT = 1024


def render(answer: Answer, wish: RankingQuery) -> bytes:
    """The body of an answer (`schemas.answers.Answer`), in the field order that the interface documents."""
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
    found["items"] = orjson.Fragment(b"[" + b",".join(_items(answer, wish.explain)) + b"]")
    if not answer.complete:
        found["shortfall"] = {
            "requested": answer.requested,
            "returned": len(answer.page),
            "because": f"{answer.available} items pass the filters; ranks start at {answer.offset + 1}",
        }
    if (link := _next_link(answer, wish)) is not None:
        found["next"] = link
    return orjson.dumps(found)


def _items(answer: Answer, explain: str) -> list[bytes]:
    """One JSON object per item: what is the same in every answer is kept as bytes, numbers are printed all at once."""
    page, view = answer.page, answer.view
    terms = _terms(answer) if explain != "none" else [b""] * len(page)
    state = evidence(view, answer.asker.history_rows) if explain == "full" else None
    items = []
    columns = (answer.displays, answer.ranks.tolist(), _numbers(page.scores), answer.inferred, terms)
    for position, (display, rank, score, inferred, written) in enumerate(zip(*columns, strict=True)):
        before, after = display.json
        if inferred:
            after += b',"inferred":' + orjson.dumps(inferred)
        if explain == "full":
            amounts = dict(zip(view.served.modalities, page.modality_amounts[position].tolist(), strict=True))
            because = because_of(view, state, int(page.rows[position]))
            written += b"," + orjson.dumps({"modality_amounts": amounts, "because": because})[1:-1]
        items.append(b'%b%d,"score":%b%b%b}' % (before, rank, score, after, written))
    return items


def _terms(answer: Answer) -> list[bytes]:
    """Per item the member `experts`: its non-zero terms; an only term is printed even where it is zero."""
    page, heads, templates = answer.page, answer.heads, answer.view.served.term_templates
    popular = answer.asker.strategy == "popular"
    present = (page.contributions != 0) | (page.weights > 0) | (len(heads) == 1)
    pairs = np.empty((*present.shape, 2))
    pairs[:, :, 0] = page.weights
    pairs[:, :, 1] = page.contributions
    numbers = _numbers(np.round(pairs[present], DECIMALS).reshape(-1))
    packed = np.packbits(present, axis=1, bitorder="little")
    chosen, width = packed.tobytes(), packed.shape[1]
    written, start = [], 0
    for place, count in enumerate(present.sum(axis=1).tolist()):
        key = (popular, chosen[place * width : (place + 1) * width])
        template = templates.get(key)
        if template is None:
            template = templates[key] = _template(heads, int.from_bytes(key[1], "little"))
        stop = start + 2 * count
        written.append(template % tuple(numbers[start:stop]))
        start = stop
    return written


def _template(heads: list[TermHead], chosen: int) -> bytes:
    """The member `experts` of an item with the terms whose bits are set; `%b` stands for weight and contribution."""
    terms = [vars(head) for place, head in enumerate(heads) if chosen >> place & 1]
    written = [orjson.dumps(term)[:-1].replace(b"%", b"%%") + b',"weight":%b,"contribution":%b}' for term in terms]
    return b',"experts":[' + b",".join(written) + b"]"


def _numbers(values: NDArray[np.float64]) -> list[bytes]:
    """Each of `values` (n,) as JSON prints it; NaN becomes null."""
    if len(values) == 0:
        return []  # a page without items; splitting nothing gives one empty piece
    return orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")


def _next_link(answer: Answer, wish: RankingQuery) -> str | None:
    """The page after this one; None for sessions and where nothing follows."""
    reached = wish.offset + wish.k
    room = min(wish.k, MAX_RANKS - reached)
    if answer.asker.user_id is None or room <= 0 or reached >= answer.available:
        return None
    query = _next_query(wish, reached, room)
    return f"/recommend/{quote(answer.asker.user_id, safe='')}?{query}&at={quote(answer.pin.text())}"


@lru_cache(maxsize=QUERIES_KEPT)
def _next_query(wish: RankingQuery, offset: int, k: int) -> str:
    """The wish from `offset` on, without the pin."""
    asked = wish.model_dump(include=set(RankingQuery.model_fields), exclude_defaults=True, mode="json")
    pairs = asked | {"offset": offset, "k": k}
    return urlencode({name: _plain(value) for name, value in pairs.items()}, doseq=True, quote_via=quote)


def _plain(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value
