"""The parts of one running worker, put together once and handed to the routes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Set
from contextlib import suppress

from model_store.errors import StoreError
from service.ahead import Ahead
from service.catalogue import Catalogue
from service.deployment import Deployment
from service.encoding import ContentEncoders
from service.limiting import Limiting
from service.made import Made
from service.prepared import PreparedAnswers
from service.recall import Recall
from service.recommender import Recommender
from service.rendering import items_of
from service.schemas.queries import RankingQuery
from service.served import ServedSnapshot
from service.settings import Settings
from service.state.embedded import EmbeddedState
from service.state.mirror import Mirror
from service.state.protocol import StateStore
from service.state.redis import RedisState
from service.state.tombstones import Tombstones
from service.telemetry import Metrics
from service.tracing import tracing_for
from service.trends import Trends
from service.view import View
from service.watcher import Watcher
from service.workbench import Workbench

log = logging.getLogger("magnet.service")
CANCEL_AGAIN_SECONDS = 0.5


class Service:
    """One worker."""

    def __init__(self, settings: Settings) -> None:
        """Assembles the parts; no I/O happens here."""
        self.settings = settings
        self.metrics = Metrics()
        self.tracing = tracing_for(settings)
        self.workbench = Workbench(settings.threads)
        self.deployment = Deployment(settings.store, settings.index, settings.answer_ttl_seconds)
        self.mirror = Mirror(state_store_for(settings))
        self.catalogue = Catalogue(self.mirror, self.deployment.loaded)
        self.recall = Recall(self.deployment)
        self.encoders = ContentEncoders(settings.store)
        self.picture_turn = asyncio.Semaphore(1)
        """One picture at a time: 50 million pixels take hundreds of megabytes while they are decoded."""
        pace, verify = settings.snapshot_poll_seconds, settings.verify_at_start
        self.watcher = Watcher(self.deployment, self._prepare, self._swapped, self.metrics, pace, verify)
        self.trends = Trends(self.mirror, settings.popular_half_life_days)
        memory, disk = int(settings.ahead_memory_mb * 2**20), int(settings.ahead_disk_mb * 2**20)
        self.ahead = Ahead(self.workbench, self.metrics, memory, disk)
        self.recommender = Recommender(
            settings, self.workbench, self.mirror, self.catalogue, self.trends, self.ahead, self.metrics, self.tracing
        )
        memory, ttl = int(settings.cache_memory_mb * 2**20), settings.answer_ttl_seconds / 2
        self.prepared = PreparedAnswers(self.recommender, self.metrics, memory, ttl)
        self.limiting = None if settings.rate_limit is None else Limiting(settings.rate_limit, settings)
        self._following: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Open the state, load the current snapshot where there is one, and begin to follow what changes.

        A worker accepts no request before that, so none of several workers answers 503 while another one is ready.
        """
        self.tracing.start()
        await self.mirror.catch_up()
        await self.trends.renew(time.time())
        await self.watcher.catch_up()
        ahead = self.ahead.follow(self.view, self.recommender.first_ranks, self.speak)
        followed = (self.watcher.follow(), self._follow_state(), self.mirror.list_users(), self.trends.follow(), ahead)
        self._following = [asyncio.create_task(following) for following in followed]

    async def stop(self) -> None:
        """End what `start` began; requests have been answered by now."""
        await self.stop_following()
        await self.mirror.stop()
        self.watcher.close()
        self.catalogue.close()
        self.workbench.close()
        if self.limiting is not None:
            await self.limiting.close()
        await asyncio.to_thread(self.tracing.close)

    async def stop_following(self) -> None:
        """From here on nothing changes but by requests."""
        while pending := [task for task in self._following if not task.done()]:
            for task in pending:
                task.cancel()
            # A cancellation that meets a timeout inside a client library is swallowed there: then once more.
            await asyncio.wait(pending, timeout=CANCEL_AGAIN_SECONDS)

    def speak(self, view: View, user_id: str, made: Made) -> bytes:
        """The items of a first page that was made ahead, in the words of an answer."""
        return items_of(self.recommender.answer_of(view, user_id, made, RankingQuery()), "experts")

    def view(self) -> View | None:
        """What is served now."""
        active = self.deployment.active
        return None if active is None else self.catalogue.view(active)

    async def pinned(self, snapshot_id: str) -> ServedSnapshot:
        """What a page was made from. Raises `Expired` where it has left memory.

        Another worker may have swapped first: what the store names by now is loaded before anything is said.
        """
        if self.deployment.loaded(snapshot_id) is None:
            with suppress(StoreError, OSError):
                if self.deployment.store.current() == snapshot_id:
                    await self.watcher.catch_up()
        return self.deployment.pinned(snapshot_id)

    async def _follow_state(self) -> None:
        while True:
            try:
                await self.catch_up()
            except Exception:  # a defect must not end the following for good
                log.exception("the state cannot be followed")
            await asyncio.sleep(self.settings.state_poll_seconds)

    async def catch_up(self) -> None:
        """Take in what other workers changed."""
        await self.forget(await self.mirror.catch_up())
        await self.catalogue.refresh()
        amiss = {"state": self.mirror.failure, "snapshot": self.watcher.refused or self.watcher.failure}
        self.metrics.degraded(part for part, failure in amiss.items() if failure is not None)

    async def forget(self, users: Set[str]) -> None:
        """Take down whatever this worker keeps of these users in memory."""
        if users:
            await self.recommender.forget(users)
            await self.prepared.forget(users)

    async def _prepare(self, served: ServedSnapshot) -> None:
        """Make ready what a snapshot needs before it is served."""
        await self.trends.prepare(served)  # first: pages of the one before may ask for the view as soon as it is there
        await self.catalogue.prepare(served)

    def _swapped(self) -> None:
        """Only the snapshot before is still asked for, by pages that name it; the new one was loaded afresh."""
        previous = self.deployment.previous
        self.recommender.routed.keep_only(previous.id if previous is not None else None)
        self.catalogue.let_go()

    def degraded(self) -> list[str]:
        """What does not work as it should, in words."""
        found = []
        if self.watcher.refused is not None:
            found.append(f"snapshot {self.watcher.refused[0]} was refused: {self.watcher.refused[1]}")
        if self.watcher.failure is not None:
            found.append(f"the store's pointer cannot be read: {self.watcher.failure}")
        if self.mirror.failure is not None:
            found.append(f"the state store is unavailable: {self.mirror.failure}")
        found += self.mirror.store.warnings
        active = self.deployment.active
        if active is not None and active.index is not None and active.index.warning is not None:
            found.append(active.index.warning)
        return found


def state_store_for(settings: Settings) -> StateStore:
    """Redis where one is given, a folder on this host otherwise."""
    folder = settings.state or settings.store / "state"
    if settings.redis_url is not None:
        tombstones = Tombstones(folder / "forgotten.jsonl")
        return RedisState(settings.redis_url.get_secret_value(), settings.redis_prefix, tombstones)
    return EmbeddedState(folder, shared=settings.workers > 1)
