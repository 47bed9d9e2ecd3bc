"""Bodies of recent answers, given again while nothing that shaped them has changed."""

from __future__ import annotations

from collections.abc import Hashable, Set
from dataclasses import dataclass
from sys import getsizeof
from typing import TypeAlias

from service.recommender import Answer, Recommender
from service.served import ServedSnapshot
from service.state.shelf import Shelf
from service.telemetry import Metrics

OVERHEAD_BYTES = 500
Question: TypeAlias = tuple[str, bytes, *tuple[Hashable, ...]]
"""Who asks, the query string, and the state that the answer depends on."""


@dataclass(frozen=True, slots=True)
class PreparedAnswer:
    """The bytes of an answer, and the name under which it can be explained."""

    body: bytes
    recommendation_id: str
    strategy: str
    complete: bool
    degraded: bool


class PreparedAnswers:
    """Keyed by everything an answer depends on, so nothing stale can be found: there is nothing to invalidate."""

    def __init__(self, recommender: Recommender, metrics: Metrics, max_bytes: int, ttl_seconds: float) -> None:
        self._recommender = recommender
        self._metrics = metrics
        self._shelf: Shelf[PreparedAnswer] = Shelf(max_bytes, ttl_seconds)
        self._keeps = max_bytes > 0

    def key(self, served: ServedSnapshot, user_id: str, query: bytes) -> Question | None:
        """The key of a question as of now; None where the user's newest events are not in memory or nothing is kept."""
        state = self._recommender.state_key(served, user_id) if self._keeps else None
        return None if state is None else (user_id, query, *state)

    def find(self, key: Question | None) -> bytes | None:
        """The body under this key, as long as its answer can still be explained; one more answer is counted."""
        found = None if key is None else self._shelf.get(key)
        if found is not None and self._recommender.answers.own.get(found.recommendation_id) is None:
            found = None
        self._metrics.cache("answers", hit=found is not None)
        if found is None:
            return None
        self._metrics.answer(found.strategy, complete=found.complete, degraded=found.degraded)
        return found.body

    def keep(self, key: Question | None, body: bytes, answer: Answer) -> None:
        """Keep a body under the key that was asked for before it was made."""
        if key is not None:
            size = len(body) + getsizeof(key[0]) + getsizeof(key[1]) + OVERHEAD_BYTES
            degraded = bool(answer.degraded)
            found = PreparedAnswer(body, answer.recommendation_id, answer.asker.strategy, answer.complete, degraded)
            self._shelf.put(key, found, size)

    async def forget(self, users: Set[str]) -> None:
        """Take down whatever was prepared for these users."""
        await self._shelf.remove(lambda key, _: isinstance(key, tuple) and key[0] in users)
