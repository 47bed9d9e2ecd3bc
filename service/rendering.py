"""Answers in words: the JSON bytes of a ranked answer."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import numpy as np
import orjson
from numpy.typing import NDArray

from service.explanation import because_of, evidence
from service.printed import TermHead
from service.ranking import MAX_RANKS
from service.recommender import Answer
from service.schemas.queries import MAX_DEPTH, RankingQuery

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
    found["complete"] = complete = answer.complete
    found["degraded"] = list(answer.degraded)
    words = items_of(answer, wish.explain) if answer.words is None else answer.words
    found["items"] = orjson.Fragment(b"[%b]" % words)
    if not complete:
        found["shortfall"] = {
            "requested": answer.requested,
            "returned": len(answer.page),
            "because": f"{answer.available} items pass the filters; ranks start at {answer.offset + 1}",
        }
    if (link := _next_link(answer, wish)) is not None:
        found["next"] = link
    return orjson.dumps(found)


def items_of(answer: Answer, explain: str) -> bytes:
    """One JSON object per item: whatever is the same in other answers is kept as parts of a format for the numbers."""
    page = answer.page
    displays, inferred = answer.view.shown(page.rows.tolist())
    rest = _terms(answer) if explain != "none" else [b""] * len(page)
    if any(inferred):
        rest = [(_inferred(names) if names else b"") + last for names, last in zip(inferred, rest, strict=True)]
    if explain == "full":
        rest = [first + last for first, last in zip(rest, _more(answer), strict=True)]
    pieces = [
        piece
        for display, rank, last in zip(displays, answer.ranks, rest, strict=True)
        for piece in (display.before, _RANKS[rank], display.after, last)
    ]
    numbers = _numbers(page.numbers if explain != "none" else page.scores)
    return b"".join(pieces)[2:] % numbers + b"}" if pieces else b""


def _inferred(names: list[str]) -> bytes:
    return b',"inferred":' + orjson.dumps(names).replace(b"%", b"%%")


def _terms(answer: Answer) -> list[bytes]:
    """Per item the member `experts`; `%b` stands for weight and contribution of a term that it has."""
    heads, templates = answer.heads, answer.view.served.term_templates.setdefault(answer.asker.strategy, {})
    chosen, width = answer.page.chosen.tobytes(), answer.page.chosen.shape[1]
    keys = [chosen[start : start + width] for start in range(0, len(chosen), width)]
    try:
        return [templates[key] for key in keys]
    except KeyError:
        templates.update({key: _template(heads, key) for key in keys})
        return [templates[key] for key in keys]


def _template(heads: list[TermHead], chosen: bytes) -> bytes:
    """The member `experts` of an item with the terms and weights whose bits are set."""
    bits = int.from_bytes(chosen, "little")
    written = []
    for place, head in enumerate(heads):
        if bits >> place & 1:
            weight = b"%b" if bits >> (len(heads) + place) & 1 else b"null"
            term = orjson.dumps(vars(head))[:-1].replace(b"%", b"%%")
            written.append(term + b',"weight":' + weight + b',"contribution":%b}')
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
    """Each of `values` (n,) as JSON prints it."""
    if len(values) == 0:
        return ()  # a page without items; splitting nothing gives one empty piece
    return tuple(orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b","))


def _next_link(answer: Answer, wish: RankingQuery) -> str | None:
    """The page after this one; None for sessions and where nothing follows."""
    if answer.asker.user_id is None or wish.offset + wish.k >= min(MAX_DEPTH, answer.available):
        return None
    return f"/recommend/{quote(answer.asker.user_id, safe='')}?{wish.following}&at={answer.pin.text()}"
