"""Answers in words: the JSON bytes of a ranked answer."""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlencode

import numpy as np
import orjson
from numpy.typing import NDArray

from service.explanation import because_of, evidence
from service.printed import TermHead
from service.ranking import MAX_RANKS
from service.recommender import Answer
from service.schemas.queries import RankingQuery

QUERIES_KEPT = 1024
_RANKS = [b'%d,"score":%%b' % rank for rank in range(MAX_RANKS + 1)]


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
    found["items"] = orjson.Fragment(b"[" + _items(answer, wish.explain) + b"]")
    if not answer.complete:
        found["shortfall"] = {
            "requested": answer.requested,
            "returned": len(answer.page),
            "because": f"{answer.available} items pass the filters; ranks start at {answer.offset + 1}",
        }
    if (link := _next_link(answer, wish)) is not None:
        found["next"] = link
    return orjson.dumps(found)


def _items(answer: Answer, explain: str) -> bytes:
    """One JSON object per item: whatever is the same in other answers is kept as parts of a format for the numbers."""
    page = answer.page
    terms = _terms(answer) if explain != "none" else [b""] * len(page)
    more = _more(answer) if explain == "full" else [b""] * len(page)
    pieces: list[bytes] = []
    for display, rank, inferred, term, rest in zip(
        answer.displays, answer.ranks.tolist(), answer.inferred, terms, more, strict=True
    ):
        before, after = display.json
        if inferred:
            after += b',"inferred":' + orjson.dumps(inferred).replace(b"%", b"%%")
        pieces += (before, _RANKS[rank], after, term, rest, b"},")
    return b"".join(pieces)[:-1] % _numbers(page.numbers if explain != "none" else page.scores)


def _terms(answer: Answer) -> list[bytes]:
    """Per item the member `experts`; `%b` stands for weight and contribution of a term that it has."""
    heads, templates = answer.heads, answer.view.served.term_templates
    chosen, width = answer.page.chosen.tobytes(), answer.page.chosen.shape[1]
    kind = answer.asker.strategy == "popular"
    written = []
    for start in range(0, len(chosen), width):
        key = (kind, chosen[start : start + width])
        template = templates.get(key)
        if template is None:
            template = templates[key] = _template(heads, int.from_bytes(key[1], "little"))
        written.append(template)
    return written


def _template(heads: list[TermHead], chosen: int) -> bytes:
    """The member `experts` of an item with the terms whose bits are set."""
    terms = [vars(head) for place, head in enumerate(heads) if chosen >> place & 1]
    written = [orjson.dumps(term)[:-1].replace(b"%", b"%%") + b',"weight":%b,"contribution":%b}' for term in terms]
    return b',"experts":[' + b",".join(written) + b"]"


def _more(answer: Answer) -> list[bytes]:
    """Per item the members that only `explain=full` prints."""
    page, view = answer.page, answer.view
    state = evidence(view, answer.asker.history_rows)
    found = []
    for position, row in enumerate(page.rows.tolist()):
        amounts = page.amounts_at(position, view.served.modalities)
        written = orjson.dumps({"modality_amounts": amounts, "because": because_of(view, state, row)})
        found.append(b"," + written[1:-1].replace(b"%", b"%%"))
    return found


def _numbers(values: NDArray[np.float64]) -> tuple[bytes, ...]:
    """Each of `values` (n,) as JSON prints it; NaN becomes null."""
    if len(values) == 0:
        return ()  # a page without items; splitting nothing gives one empty piece
    return tuple(orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b","))


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
