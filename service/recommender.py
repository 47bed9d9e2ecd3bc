"""Answers a wish from one snapshot: who asks, which items may come, their order and their terms. Knows no HTTP."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from service.asking import Asker, asker_for
from service.candidates import Filters, gather
from service.diversity import diversified
from service.errors import UnknownItem, UnknownUser
from service.explanation import UserProfile, profile, score_pair
from service.pins import Pin
from service.popular import popular_ranking
from service.ranking import MAX_RANKS, Factors, Ranking, rank, steering
from service.schemas.queries import RankingQuery, parse_steer
from service.served import MIN_DEPTH, ServedSnapshot, TermHead
from service.settings import Settings
from service.state.answers import AnswerShelf, KeptAnswer, new_recommendation_id
from service.workbench import Workbench

HEAD_RANKS = MIN_DEPTH
"""Ranks filled from candidates at the snapshot's depth, and the window that `diversity` reorders."""
TAIL_DEPTH = 4 * MAX_RANKS
"""Candidates behind the ranks beyond the head."""
SECONDS_PER_DAY = 86400


@dataclass(frozen=True)
class Answer:
    """A ranked answer before it is put into words."""

    served: ServedSnapshot
    asker: Asker
    recommendation_id: str
    page: Ranking
    offset: int
    requested: int
    available: int
    """How many items pass the filters at all."""
    pin: Pin
    exploration: float | None = None
    degraded: list[str] = field(default_factory=list)

    @property
    def heads(self) -> list[TermHead]:
        """What the columns of the page's terms are called."""
        return heads_of(self.served, self.asker.strategy)

    @property
    def complete(self) -> bool:
        """Whether as many items came as were asked for."""
        return len(self.page) == self.requested


def heads_of(served: ServedSnapshot, strategy: str) -> list[TermHead]:
    """The terms of answers made by this strategy."""
    return [served.popular_term] if strategy == "popular" else served.terms


class Recommender:
    """Orchestrates one worker's answers."""

    def __init__(self, settings: Settings, workbench: Workbench) -> None:
        self._settings = settings
        self._workbench = workbench
        self.answers = AnswerShelf(int(settings.answer_memory_mb * 2**20), settings.answer_ttl_seconds)

    async def recommend(
        self, served: ServedSnapshot, user_id: str, wish: RankingQuery, pin: Pin | None = None
    ) -> Answer:
        """The page of `wish` for this user. An unknown user gets popular items. Raises `InvalidRequest`."""
        return await self._workbench.run("recommend", partial(self._recommend, served, user_id, wish, pin))

    async def explain(self, served: ServedSnapshot, user_id: str, item_id: str) -> tuple[Asker, Ranking]:
        """The newest score of one pair, as a ranking of length 1. Raises `UnknownUser`, `UnknownItem`."""
        row = served.snapshot.item_row(item_id)
        if row is None:
            raise UnknownItem(f"item {item_id!r} is not in snapshot {served.id}")
        asker = self.known(served, user_id)
        return asker, await self._workbench.run("explain", partial(score_pair, served, asker, row))

    async def profile(self, served: ServedSnapshot, user_id: str) -> tuple[Asker, UserProfile]:
        """What counts for a user. Raises `UnknownUser`."""
        asker = self.known(served, user_id)
        return asker, await self._workbench.run("profile", partial(profile, served, asker))

    def known(self, served: ServedSnapshot, user_id: str) -> Asker:
        """A user that there is something to say about. Raises `UnknownUser`."""
        if served.snapshot.user_row(user_id) is None:
            raise UnknownUser(f"user {user_id!r} is not in snapshot {served.id}")
        return asker_for(served, user_id)

    def _recommend(self, served: ServedSnapshot, user_id: str, wish: RankingQuery, pin: Pin | None) -> Answer:
        now = time.time()
        factors = steering(served, dict(map(parse_steer, wish.steer)))
        asker = asker_for(served, user_id)
        pin = pin or Pin(served.id, asker.version, int(now // SECONDS_PER_DAY))
        filters = Filters(blocked_rows(served, asker, wish), wish.category)
        if asker.state is None:
            exploration = self._settings.popular_exploration
            ranking = popular_ranking(served, served.popularity, filters, exploration, f"{user_id}\0{pin.day}")
        else:
            exploration = None
            ranking = self._ranked(served, asker, filters, factors, wish)
        page = ranking.at(slice(wish.offset, wish.offset + wish.k))
        recommendation_id = new_recommendation_id(now)
        self.answers.put(
            KeptAnswer(
                recommendation_id,
                asker.user_id,
                served.id,
                asker.strategy,
                page.rows,
                page.contributions,
                page.weights,
                page.modality_amounts,
                asker.state,
            )
        )
        available = filters.count_allowed(served)
        return Answer(served, asker, recommendation_id, page, wish.offset, wish.k, available, pin, exploration)

    def _ranked(
        self, served: ServedSnapshot, asker: Asker, filters: Filters, factors: Factors | None, wish: RankingQuery
    ) -> Ranking:
        """Ranks up to `offset + k`. The head never depends on how deep a caller reads, so pages fit together."""
        assert asker.state is not None
        depth = served.depth if factors is None else int(served.depth * self._settings.steered_depth_factor)
        rows = gather(served, asker.state, filters, depth, HEAD_RANKS)
        ranking = rank(served.scorer.score(asker.state, rows), factors, HEAD_RANKS)
        if wish.diversity and len(ranking) and served.index is not None:
            ranking = ranking.at(diversified(ranking.scores, served.index.vectors(ranking.rows), wish.diversity))
        if wish.offset + wish.k > len(ranking) == HEAD_RANKS:
            deeper = gather(served, asker.state, filters, TAIL_DEPTH, MAX_RANKS)
            ranking = ranking.then(rank(served.scorer.score(asker.state, deeper), factors, MAX_RANKS))
        return ranking


def blocked_rows(served: ServedSnapshot, asker: Asker, wish: RankingQuery) -> NDArray[np.int64]:
    """Distinct rows that must not appear: what the user has seen, unless wanted, and what the caller excludes."""
    excluded = [row for item_id in wish.exclude if (row := served.snapshot.item_row(item_id)) is not None]
    seen = asker.seen if wish.exclude_seen else asker.seen[:0]
    if not excluded:
        return seen
    return np.union1d(seen, np.array(excluded, np.int64))
