"""Answers for users without a history: what is popular, with a stated share of places for what is not (yet).

Axes: `I` items, added ones included, `P` ranked items, `M` modalities.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from service.candidates import Filters
from service.printed import DECIMALS
from service.ranking import MAX_RANKS, Ranking
from service.view import View

EXPLORED_FROM = 100
"""Places up to this one of the popularity order need no exploration to be seen."""
EXPLORED_POOL = 2000
"""How many items beyond them take part in the draw."""


def popular_ranking(
    view: View, popularity: NDArray[np.float32], filters: Filters, exploration: float, seed: str
) -> Ranking:
    """The best items by `popularity` (I,), MAX_RANKS at most; every 1/exploration-th place goes to one from beyond.

    The draw favours the more popular and depends on `seed` alone, so that pages of one answer fit together. Scores are
    the popularities: an explored item keeps its own, so `rank` need not follow `score`.
    """
    order = np.argsort(-popularity, kind="stable")
    allowed = order[filters.allowed(view)[order]]
    head, tail = allowed[:EXPLORED_FROM], allowed[EXPLORED_FROM:]
    drawn = _draw(tail[:EXPLORED_POOL], popularity, int(MAX_RANKS * exploration), seed)
    rest = np.concatenate([head, tail[~np.isin(tail, drawn)]])
    rows = _interleave(rest[:MAX_RANKS], drawn, exploration)[:MAX_RANKS]
    return single_term_ranking(view, popularity, rows)


def single_term_ranking(view: View, popularity: NDArray[np.float32], rows: NDArray[np.int64]) -> Ranking:
    """These rows in this order, scored by the one term `popularity`; all of it counts as behaviour."""
    scores = popularity[rows].astype(np.float64).round(DECIMALS)
    amounts = np.zeros((len(rows), len(view.served.modalities)))
    amounts[:, 0] = scores
    return Ranking(rows, scores, scores[:, None], np.full((len(rows), 1), np.nan, np.float32), amounts)


def _draw(tail: NDArray[np.int64], popularity: NDArray[np.float32], wanted: int, seed: str) -> NDArray[np.int64]:
    """`wanted` distinct items of `tail`, in random order, weighted by popularity plus one (exponential races)."""
    digest = hashlib.blake2b(seed.encode(), digest_size=8).digest()
    random = np.random.default_rng(int.from_bytes(digest, "little"))
    times = random.exponential(size=len(tail)) / (np.maximum(popularity[tail], 0) + 1.0)
    drawn: NDArray[np.int64] = tail[np.argsort(times, kind="stable")[:wanted]]
    return drawn


def _interleave(rest: NDArray[np.int64], drawn: NDArray[np.int64], share: float) -> NDArray[np.int64]:
    """`drawn` at every place where the running share reaches a whole number, `rest` elsewhere."""
    total = len(rest) + len(drawn)
    places = np.floor((np.arange(len(drawn)) + 1) / share).astype(np.int64) - 1 if len(drawn) else np.zeros(0, np.int64)
    places = places[places < total]
    rows = np.empty(total, np.int64)
    explored = np.zeros(total, np.bool_)
    explored[places] = True
    rows[explored] = drawn[: len(places)]
    rows[~explored] = np.concatenate([rest, drawn[len(places) :]])
    return rows
