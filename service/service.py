"""The parts of one running worker, put together once and handed to the routes."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from service.deployment import Deployment
from service.recommender import Recommender
from service.settings import Settings
from service.watcher import Watcher
from service.workbench import Workbench


class Service:
    """One worker."""

    def __init__(self, settings: Settings) -> None:
        """Assembles the parts; no I/O happens here."""
        self.settings = settings
        self.workbench = Workbench(settings.threads)
        self.deployment = Deployment(settings.store)
        self.watcher = Watcher(self.deployment, settings.snapshot_poll_seconds, settings.verify_at_start)
        self.recommender = Recommender(settings, self.workbench)
        self._following: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to follow the store's pointer; returns before the first snapshot is loaded."""
        self._following = asyncio.create_task(self.watcher.follow(), name="follow the pointer")

    async def stop(self) -> None:
        """End what `start` began; requests have been answered by now."""
        if self._following is not None:
            self._following.cancel()
            with suppress(asyncio.CancelledError):
                await self._following
        self.watcher.close()
        self.workbench.close()

    def degraded(self) -> list[str]:
        """What does not work as it should, in words."""
        found = []
        if self.watcher.refused is not None:
            found.append(f"snapshot {self.watcher.refused[0]} was refused: {self.watcher.refused[1]}")
        if self.watcher.failure is not None:
            found.append(f"the store's pointer cannot be read: {self.watcher.failure}")
        return found
