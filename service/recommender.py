"""Answers a wish from one snapshot: who asks, which items may come, their order and their terms. Knows no HTTP."""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence, Set
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from service.ahead import Ahead
from service.asking import Asker, asker_for, known_asker, session_asker
from service.candidates import Filters, gather
from service.catalogue import Catalogue
from service.diversity import diversified
from service.errors import StateUnavailable, UnknownItem, UnknownUser
from service.explanation import UserProfile, profile, score_pair
from service.made import RANKS, Made
from service.pins import Pin
from service.popular import popular_ranking
from service.printed import Page, TermHead
from service.ranking import MAX_RANKS, Factors, Ranking, page_of, rank, steering
from service.routed import RoutedUsers
from service.schemas.queries import RankingQuery, parse_steer
from service.served import MIN_DEPTH, ServedSnapshot
from service.settings import Settings
from service.state.answers import Answers, KeptAnswer, new_recommendation_id
from service.state.mirror import Mirror
from service.state.protocol import NO_EVENTS, UserEvents
from service.telemetry import Metrics
from service.tracing import Tracing
from service.trends import PERIOD_SECONDS, SECONDS_PER_DAY, Trends
from service.view import View
from service.workbench import Workbench, turn

HEAD_RANKS = MIN_DEPTH
"""Ranks filled from candidates at the snapshot's depth, and the window that `diversity` reorders."""
FEW = 64
"""So many ids are found in no time."""
TAIL_DEPTH = 4 * MAX_RANKS
"""Candidates behind the ranks beyond the head."""


@dataclass(frozen=True)
class Moment:
    """The shared state behind an answer, taken on the event loop: threads never look at what changes."""

    view: View
    pin: Pin
    left_out: NDArray[np.int64]
    """Distinct rows that nobody may see."""
    popularity: NDArray[np.float32]  # (I+A,)
    degraded: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """A ranked answer before it is put into words."""

    view: View
    asker: Asker
    recommendation_id: str
    page: Page
    ranks: Sequence[int]
    """(K,) the rank of every item of the page, from 1."""
    offset: int
    requested: int
    available: int
    """How many items pass the filters at all."""
    candidates: int
    """How many items were scored."""
    pin: Pin
    exploration: float | None
    degraded: tuple[str, ...]
    words: bytes | None = None
    """The items in words, as the wish wants them printed, where that was done ahead."""

    @property
    def heads(self) -> list[TermHead]:
        """What the columns of the page's terms are called."""
        return self.view.served.imprint.heads(self.asker.strategy)

    @property
    def complete(self) -> bool:
        """Whether as many items came as were asked for."""
        return len(self.page) == self.requested


class Recommender:
    """Orchestrates one worker's answers."""

    def __init__(
        self,
        settings: Settings,
        workbench: Workbench,
        mirror: Mirror,
        catalogue: Catalogue,
        trends: Trends,
        ahead: Ahead,
        metrics: Metrics,
        tracing: Tracing,
    ) -> None:
        self._settings = settings
        self._workbench = workbench
        self._mirror = mirror
        self._catalogue = catalogue
        self._trends = trends
        self._ahead = ahead
        self._metrics = metrics
        self._tracing = tracing
        memory = int(settings.answer_memory_mb * 2**20)
        self.answers = Answers(mirror.store, memory, settings.answer_ttl_seconds)
        self.routed = RoutedUsers(int(settings.router_memory_mb * 2**20), metrics)

    async def recommend(
        self, served: ServedSnapshot, user_id: str, wish: RankingQuery, pin: Pin | None = None
    ) -> Answer:
        """The page of `wish` for this user. An unknown user gets popular items. Raises `InvalidRequest`."""
        events = await self._events_of(user_id) or NO_EVENTS
        if (ready := self._ready(served, user_id, events, wish, pin)) is not None:
            return self._kept(ready)
        await turn()
        now = self._now(served, events.version)
        seen_at = now if pin is None else self._at(now.view, pin)
        work = partial(self._recommend, user_id, events, wish, seen_at, now)
        kind = _kind(served, wish, len(events.events))
        return self._kept(await self._workbench.run(kind, work, waits=served.waits))

    async def recommend_session(self, served: ServedSnapshot, item_ids: Sequence[str], wish: RankingQuery) -> Answer:
        """The page of `wish` for somebody who looked at these items, most recent last. Raises `InvalidRequest`."""
        moment = self._now(served, 0)

        def work() -> Answer:
            rows = [row for item_id in item_ids if (row := moment.view.item_row(item_id)) is not None]
            return self._answer(session_asker(moment.view, rows), wish, moment, seed="\0".join(item_ids))

        kind = _kind(served, wish, len(item_ids))
        return self._kept(await self._workbench.run(kind, work, waits=served.waits))

    async def explain(self, served: ServedSnapshot, user_id: str, item_id: str) -> tuple[Asker, Page]:
        """The newest score of one pair, as a page of one item. Raises `UnknownUser`, `UnknownItem`."""
        row = self.item_row(served, item_id)
        asker = await self.known(served, user_id)
        moment = self._now(served, asker.version)
        if asker.user_row is not None:
            found = self._ahead.find_pair(moment.view, user_id, row)
            if found is not None:
                return asker, found
        work = partial(score_pair, self.routed, moment.view, asker, row, moment.popularity)
        return asker, page_of(await self._workbench.run("explain", work))

    def first_ranks(self, view: View, user_id: str) -> Made | None:
        """The head of a known user of whom there are no events, asked for without any wish: what is made ahead."""
        if self._mirror.is_forgotten(user_id):
            return None
        asker, wish = asker_for(view, user_id), RankingQuery(k=RANKS)
        filters = Filters(_blocked(view, asker, wish, view.left_out()))
        ranking, _ = self._ranked(view, asker, filters, None, wish)
        assert asker.user_row is not None
        page = page_of(ranking.at(slice(RANKS)))
        for display in view.shown(page.rows.tolist())[0]:
            display.make()
        return Made(page, filters.count_allowed(view), asker.user_row)

    async def profile(self, served: ServedSnapshot, user_id: str) -> tuple[Asker, UserProfile]:
        """What counts for a user. Raises `UnknownUser`."""
        asker = await self.known(served, user_id)
        work = partial(profile, self._catalogue.view(served), asker)
        return asker, await self._workbench.run("profile", work, waits=served.waits)

    async def known(self, served: ServedSnapshot, user_id: str) -> Asker:
        """A user that there is something to say about. Raises `UnknownUser`, and `StateUnavailable` while only the
        events could know.
        """
        events = await self._events_of(user_id)
        asked = partial(self.routed.asker, self._catalogue.view(served), user_id, events or NO_EVENTS)
        kind = f"ask {_extent(len(events.events) if events else 0)}"
        asker = await self._workbench.run(kind, asked, waits=served.waits)
        if not asker.exists and events is None:
            raise StateUnavailable(f"user {user_id!r} is not in snapshot {served.id}, and events cannot be read now")
        if not asker.exists:
            raise UnknownUser(f"user {user_id!r} is in neither snapshot {served.id} nor the events")
        return asker

    def item_row(self, served: ServedSnapshot, item_id: str) -> int:
        """The row of an item that is not hidden. Raises `UnknownItem`."""
        view = self._catalogue.view(served)
        row = view.item_row(item_id)
        if row is None or view.is_hidden(row):
            raise UnknownItem(f"item {item_id!r} is not in the catalogue")
        return row

    def state_key(self, served: ServedSnapshot, user_id: str) -> tuple[Hashable, ...] | None:
        """All of the state that an answer for this user depends on; None where it is not in memory."""
        events = self._mirror.peek(user_id)
        if events is None:
            return None
        edition = self._catalogue.view(served).edition
        return served.id, self._mirror.edition.losses, events.version, edition, self._trends.period, self.degraded()

    async def kept(self, recommendation_id: str) -> KeptAnswer | None:
        """An answer of late; None once it has left, or once its user was forgotten."""
        found = await self.answers.find(recommendation_id)
        if found is None or found.user_id is None:
            return found
        events = await self._events_of(found.user_id) or NO_EVENTS
        return None if events.forgotten_at > found.user_version else found

    async def forget(self, users: Set[str]) -> None:
        """Take down the answers and the scores kept for these users, and the rankings made ahead."""
        self.routed.forget(users)
        self._ahead.forget(users)
        await self.answers.own.remove(lambda _, kept: kept[0] in users)

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
        view = self._catalogue.view(served)
        return self._at(view, Pin(served.id, user_version, view.version, self._trends.period))

    def _at(self, view: View, pin: Pin) -> Moment:
        left_out = view.left_out(pin.items_version)
        return Moment(view, pin, left_out, self._trends.popularity(view, pin.period), self.degraded())

    def _kept(self, answer: Answer) -> Answer:
        asker = answer.asker
        self._metrics.answer(asker.strategy, complete=answer.complete, degraded=bool(answer.degraded))
        self._metrics.scored(answer.candidates)
        kept = KeptAnswer(
            asker.user_id,
            asker.version,
            answer.view.served.id,
            asker.strategy,
            asker.user_row,
            asker.history_rows if asker.user_row is None else None,
            answer.view.live_among(answer.page),
            answer.page,
        )
        self.answers.keep(answer.recommendation_id, kept)
        return answer

    def _ready(
        self, served: ServedSnapshot, user_id: str, events: UserEvents, wish: RankingQuery, pin: Pin | None
    ) -> Answer | None:
        """What was made ahead, as `_recommend` would answer; None where that takes more than what the snapshot says of
        the user and the catalogue as it is now.
        """
        view = self._catalogue.view(served)
        if events is not NO_EVENTS or not _is_plain(wish) or (pin is not None and pin.items_version < view.version):
            return None
        ranks = slice(wish.offset, wish.offset + wish.k)
        made = self._ahead.find(view, user_id, ranks, in_words=wish.explain == "experts")
        return None if made is None else self.answer_of(view, user_id, made, wish, pin)

    def answer_of(self, view: View, user_id: str, made: Made, wish: RankingQuery, pin: Pin | None = None) -> Answer:
        """An answer out of what was made ahead."""
        served = view.served
        pin = pin or Pin(served.id, 0, view.version, self._trends.period)
        ranks = range(wish.offset + 1, wish.offset + len(made.page) + 1)
        return Answer(
            view,
            known_asker(served, user_id, made.user_row),
            new_recommendation_id(time.time()),
            made.page,
            ranks,
            wish.offset,
            wish.k,
            made.available,
            0,
            pin,
            None,
            self.degraded(),
            made.words,
        )

    def _recommend(self, user_id: str, events: UserEvents, wish: RankingQuery, at: Moment, now: Moment) -> Answer:
        asker = self.routed.asker(at.view, user_id, events, at.pin.user_version)
        if at is now:
            return self._answer(asker, wish, at, seed=user_id)
        newest = self.routed.asker(at.view, user_id, events) if events.version > at.pin.user_version else asker
        late = np.union1d(newest.unwanted, now.left_out)
        return self._answer(asker, wish, at, seed=user_id, late=late)

    def _answer(
        self,
        asker: Asker,
        wish: RankingQuery,
        at: Moment,
        *,
        seed: str,
        late: NDArray[np.int64] | None = None,
    ) -> Answer:
        """Rank and cut the page. `late`: rows unwanted or hidden since the moment; they leave gaps in the ranks."""
        view = at.view
        factors = steering(view.served, dict(map(parse_steer, wish.steer)))
        filters = Filters(_blocked(view, asker, wish, at.left_out), wish.category)
        exploration = None
        scored, places = 0, slice(wish.offset, wish.offset + wish.k)
        if asker.encode is None:
            exploration = self._settings.popular_exploration
            day = at.pin.period * PERIOD_SECONDS // SECONDS_PER_DAY
            ranking = popular_ranking(view, at.popularity, filters, exploration, f"{seed}\0{day}")
            page, scored = ranking.at(places), len(ranking)
        else:
            ranking, scored = self._ranked(view, asker, filters, factors, wish)
            page = ranking.at(places)
        ranks = np.arange(wish.offset + 1, wish.offset + len(page) + 1)
        if late is not None and len(kept := np.flatnonzero(~np.isin(page.rows, late))) < len(page):
            page, ranks = page.at(kept), ranks[kept]
        place = (page_of(page), ranks.tolist(), wish.offset, wish.k, filters.count_allowed(view), scored)
        return Answer(view, asker, new_recommendation_id(time.time()), *place, at.pin, exploration, at.degraded)

    def _ranked(
        self, view: View, asker: Asker, filters: Filters, factors: Factors | None, wish: RankingQuery
    ) -> tuple[Ranking, int]:
        """Ranks up to `offset + k`, and how many items were scored for them.

        The head never depends on how deep a caller reads, so pages fit together; what nobody reads of it is not ranked.
        """
        assert asker.state is not None
        depth = view.served.depth_for(dict(map(parse_steer, wish.steer)))
        limit = HEAD_RANKS if wish.diversity else min(HEAD_RANKS, wish.offset + wish.k)
        with self._tracing.span("candidates"):
            rows = gather(view, asker.state, filters, depth, HEAD_RANKS)
        with self._tracing.span("scoring"):
            ranking = rank(self.routed.score(view, asker, rows), factors, limit)
        if wish.diversity:
            ranking = ranking.at(diversified(ranking.scores, view.expert_vectors(ranking.rows), wish.diversity))
        if wish.offset + wish.k > len(ranking) == HEAD_RANKS:
            with self._tracing.span("candidates"):
                deeper = gather(view, asker.state, filters, max(depth, TAIL_DEPTH), MAX_RANKS)
            with self._tracing.span("scoring"):
                ranking = ranking.then(rank(self.routed.score(view, asker, deeper), factors, MAX_RANKS))
            return ranking, len(rows) + len(deeper)
        return ranking, len(rows)


def _blocked(view: View, asker: Asker, wish: RankingQuery, left_out: NDArray[np.int64]) -> NDArray[np.int64]:
    """Distinct rows that must not appear: hidden, unwanted, excluded, and seen unless the caller wants those."""
    parts = [asker.unwanted, left_out]
    if wish.exclude_seen:
        parts.append(asker.seen)
    if wish.exclude:
        rows = [row for item_id in wish.exclude if (row := view.item_row(item_id)) is not None]
        parts.append(np.array(rows, np.int64))
    parts = [part for part in parts if len(part)]
    if len(parts) == 1 and not wish.exclude:
        return parts[0]
    return np.unique(np.concatenate(parts)) if parts else asker.seen[:0]


def _is_plain(wish: RankingQuery) -> bool:
    """Whether an answer depends on nothing but its user and the catalogue."""
    return wish.exclude_seen and not (wish.category or wish.exclude or wish.steer or wish.diversity)


def _kind(served: ServedSnapshot, wish: RankingQuery, told: int) -> str:
    """Wishes that take about as long: deep and steered ones score more candidates, diverse ones compare them, and every
    event or item that the answer is `told` of has to be found.
    """
    deep = " deep" if wish.offset + wish.k > HEAD_RANKS else ""
    diverse = " diverse" if wish.diversity else ""
    steered = f" steered {served.depth_for(dict(map(parse_steer, wish.steer))).bit_length()}" if wish.steer else ""
    return f"recommend{deep}{diverse}{steered} {_extent(told + len(wish.exclude))}"


def _extent(count: int) -> int:
    """0 for numbers that hardly count, one more for each doubling."""
    return (count // FEW).bit_length()
