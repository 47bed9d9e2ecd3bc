"""The parts of one running worker, put together once and handed to the routes."""

from __future__ import annotations

import asyncio

from service.catalogue import Catalogue
from service.deployment import Deployment
from service.encoding import ContentEncoders
from service.recommender import Recommender
from service.settings import Settings
from service.state.embedded import EmbeddedState
from service.state.mirror import Mirror
from service.state.protocol import StateStore
from service.state.redis import RedisState
from service.trends import Trends
from service.watcher import Watcher
from service.workbench import Workbench


class Service:
    """One worker."""

    def __init__(self, settings: Settings) -> None:
        """Assembles the parts; no I/O happens here."""
        self.settings = settings
        self.workbench = Workbench(settings.threads)
        self.deployment = Deployment(settings.store)
        self.mirror = Mirror(_state_of(settings))
        self.catalogue = Catalogue(self.mirror)
        self.encoders = ContentEncoders(settings.store)
        pace, verify = settings.snapshot_poll_seconds, settings.verify_at_start
        self.watcher = Watcher(self.deployment, self.catalogue.prepare, pace, verify)
        self.trends = Trends(self.mirror, settings.popular_half_life_days)
        self.recommender = Recommender(settings, self.workbench, self.mirror, self.catalogue, self.trends)
        self._following: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Open the state and begin to follow what changes; returns before the first snapshot is loaded."""
        await self.mirror.catch_up()
        followed = (self.watcher.follow(), self._follow_state(), self.trends.follow())
        self._following = [asyncio.create_task(following) for following in followed]

    async def stop(self) -> None:
        """End what `start` began; requests have been answered by now."""
        for task in self._following:
            task.cancel()
        await asyncio.gather(*self._following, return_exceptions=True)
        await self.mirror.stop()
        self.watcher.close()
        self.catalogue.close()
        self.workbench.close()

    async def _follow_state(self) -> None:
        while True:
            await self.catch_up()
            await asyncio.sleep(self.settings.state_poll_seconds)

    async def catch_up(self) -> None:
        """Take in what other workers changed."""
        await self.mirror.catch_up()
        await self.catalogue.refresh()

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
        return found


def _state_of(settings: Settings) -> StateStore:
    """Redis where one is given, a folder on this host otherwise."""
    if settings.redis_url is not None:
        return RedisState(settings.redis_url.get_secret_value(), settings.redis_prefix)
    return EmbeddedState(settings.state or settings.store / "state", shared=settings.workers > 1)
