"""Answers a wish from one snapshot: who asks, which items may come, their order and their terms. Knows no HTTP."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from service.asking import Asker, asker_for, session_asker
from service.candidates import Filters, gather
from service.catalogue import Catalogue
from service.diversity import diversified
from service.errors import StateUnavailable, UnknownItem, UnknownUser
from service.explanation import UserProfile, profile, score_pair
from service.pins import Pin
from service.popular import popular_ranking
from service.ranking import MAX_RANKS, Factors, Ranking, rank, steering
from service.schemas.queries import RankingQuery, parse_steer
from service.served import MIN_DEPTH, ServedSnapshot, TermHead
from service.settings import Settings
from service.state.answers import Answers, KeptAnswer, new_recommendation_id
from service.state.mirror import Mirror
from service.state.protocol import NO_EVENTS, UserEvents
from service.trends import PERIOD_SECONDS, SECONDS_PER_DAY, Trends
from service.workbench import Workbench

HEAD_RANKS = MIN_DEPTH
"""Ranks filled from candidates at the snapshot's depth, and the window that `diversity` reorders."""
TAIL_DEPTH = 4 * MAX_RANKS
"""Candidates behind the ranks beyond the head."""


@dataclass(frozen=True)
class Moment:
    """The shared state behind an answer, taken on the event loop: threads never look at what changes."""

    pin: Pin
    hidden: NDArray[np.int64]
    """Distinct rows of items hidden by then."""
    popularity: NDArray[np.float32]  # (I,)
    degraded: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """A ranked answer before it is put into words."""

    served: ServedSnapshot
    asker: Asker
    recommendation_id: str
    page: Ranking
    ranks: NDArray[np.int64]
    """(K,) the rank of every item of the page, from 1."""
    offset: int
    requested: int
    available: int
    """How many items pass the filters at all."""
    pin: Pin
    exploration: float | None
    degraded: tuple[str, ...]

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

    def __init__(
        self, settings: Settings, workbench: Workbench, mirror: Mirror, catalogue: Catalogue, trends: Trends
    ) -> None:
        self._settings = settings
        self._workbench = workbench
        self._mirror = mirror
        self._catalogue = catalogue
        self._trends = trends
        memory = int(settings.answer_memory_mb * 2**20)
        self.answers = Answers(mirror.store, memory, settings.answer_ttl_seconds)

    async def recommend(
        self, served: ServedSnapshot, user_id: str, wish: RankingQuery, pin: Pin | None = None
    ) -> Answer:
        """The page of `wish` for this user. An unknown user gets popular items. Raises `InvalidRequest`."""
        events = await self._events_of(user_id) or NO_EVENTS
        now = self._now(served, events.version)
        seen_at = now if pin is None else self._at(served, pin)
        work = partial(self._recommend, served, user_id, events, wish, seen_at, now)
        return self._kept(await self._workbench.run("recommend", work))

    async def recommend_session(self, served: ServedSnapshot, item_ids: Sequence[str], wish: RankingQuery) -> Answer:
        """The page of `wish` for somebody who looked at these items, most recent last. Raises `InvalidRequest`."""
        rows = [row for item_id in item_ids if (row := served.snapshot.item_row(item_id)) is not None]

        moment = self._now(served, 0)

        def work() -> Answer:
            return self._answer(session_asker(served, rows), served, wish, moment, seed="\0".join(item_ids))

        return self._kept(await self._workbench.run("recommend", work))

    async def explain(self, served: ServedSnapshot, user_id: str, item_id: str) -> tuple[Asker, Ranking]:
        """The newest score of one pair, as a ranking of length 1. Raises `UnknownUser`, `UnknownItem`."""
        row = self.item_row(served, item_id)
        asker = await self.known(served, user_id)
        popularity = self._now(served, asker.version).popularity
        return asker, await self._workbench.run("explain", partial(score_pair, served, asker, row, popularity))

    async def profile(self, served: ServedSnapshot, user_id: str) -> tuple[Asker, UserProfile]:
        """What counts for a user. Raises `UnknownUser`."""
        asker = await self.known(served, user_id)
        return asker, await self._workbench.run("profile", partial(profile, served, asker))

    async def known(self, served: ServedSnapshot, user_id: str) -> Asker:
        """A user that there is something to say about. Raises `UnknownUser`."""
        events = await self._events_of(user_id) or NO_EVENTS
        asker = await self._workbench.run("ask", partial(asker_for, served, user_id, events))
        if not asker.exists:
            raise UnknownUser(f"user {user_id!r} is in neither snapshot {served.id} nor the events")
        return asker

    def item_row(self, served: ServedSnapshot, item_id: str) -> int:
        """The row of an item that is not hidden. Raises `UnknownItem`."""
        row = served.snapshot.item_row(item_id)
        if row is None or self._catalogue.is_hidden(item_id):
            raise UnknownItem(f"item {item_id!r} is not in the catalogue")
        return row

    def degraded(self) -> tuple[str, ...]:
        """What answers have to do without: `events` while the state store is unavailable."""
        return ("events",) if self._mirror.failure is not None else ()

    async def _events_of(self, user_id: str) -> UserEvents | None:
        """The user's events, None while they cannot be read."""
        try:
            return self._mirror.peek(user_id) or await self._mirror.events_of(user_id)
        except StateUnavailable:
            return None

    def _now(self, served: ServedSnapshot, user_version: int) -> Moment:
        return self._at(served, Pin(served.id, user_version, self._catalogue.version, self._trends.period))

    def _at(self, served: ServedSnapshot, pin: Pin) -> Moment:
        hidden = self._catalogue.hidden(served, pin.items_version)
        return Moment(pin, hidden, self._trends.popularity(served, pin.period), self.degraded())

    def _kept(self, answer: Answer) -> Answer:
        asker, page = answer.asker, answer.page
        numbers = (page.rows, page.contributions, page.weights, page.modality_amounts)
        names = (answer.recommendation_id, asker.user_id, answer.served.id, asker.strategy)
        self.answers.keep(KeptAnswer(*names, asker.history_rows, *numbers))
        return answer

    def _recommend(
        self, served: ServedSnapshot, user_id: str, events: UserEvents, wish: RankingQuery, at: Moment, now: Moment
    ) -> Answer:
        asker = asker_for(served, user_id, events, at.pin.user_version)
        if at is now:
            return self._answer(asker, served, wish, at, seed=user_id)
        newest = asker_for(served, user_id, events) if events.version > at.pin.user_version else asker
        return self._answer(asker, served, wish, at, seed=user_id, late=np.union1d(newest.unwanted, now.hidden))

    def _answer(
        self,
        asker: Asker,
        served: ServedSnapshot,
        wish: RankingQuery,
        at: Moment,
        *,
        seed: str,
        late: NDArray[np.int64] | None = None,
    ) -> Answer:
        """Rank and cut the page. `late`: rows unwanted or hidden since the moment; they leave gaps in the ranks."""
        factors = steering(served, dict(map(parse_steer, wish.steer)))
        filters = Filters(_blocked(served, asker, wish, at.hidden), wish.category)
        exploration = None
        if asker.state is None:
            exploration = self._settings.popular_exploration
            day = at.pin.period * PERIOD_SECONDS // SECONDS_PER_DAY
            ranking = popular_ranking(served, at.popularity, filters, exploration, f"{seed}\0{day}")
        else:
            ranking = self._ranked(served, asker, filters, factors, wish)
        page = ranking.at(slice(wish.offset, wish.offset + wish.k))
        ranks = np.arange(wish.offset + 1, wish.offset + len(page) + 1)
        if late is not None and len(kept := np.flatnonzero(~np.isin(page.rows, late))) < len(page):
            page, ranks = page.at(kept), ranks[kept]
        place = (page, ranks, wish.offset, wish.k, filters.count_allowed(served))
        return Answer(served, asker, new_recommendation_id(time.time()), *place, at.pin, exploration, at.degraded)

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


def _blocked(served: ServedSnapshot, asker: Asker, wish: RankingQuery, hidden: NDArray[np.int64]) -> NDArray[np.int64]:
    """Distinct rows that must not appear: hidden, unwanted, excluded, and seen unless the caller wants those."""
    parts = [asker.unwanted, hidden]
    if wish.exclude_seen:
        parts.append(asker.seen)
    if wish.exclude:
        rows = [row for item_id in wish.exclude if (row := served.snapshot.item_row(item_id)) is not None]
        parts.append(np.array(rows, np.int64))
    parts = [part for part in parts if len(part)]
    if len(parts) == 1:
        return np.unique(parts[0])
    return np.unique(np.concatenate(parts)) if parts else asker.seen[:0]
