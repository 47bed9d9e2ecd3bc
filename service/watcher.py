"""Follows the store's pointer: loads what it names beside the old snapshot, and swaps once that is warm."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from model_store.errors import StoreError
from model_store.snapshot import Verification
from service.deployment import Deployment
from service.served import ServedSnapshot
from service.telemetry import Metrics

log = logging.getLogger("magnet.watcher")


class Watcher:
    """Brings a deployment to where the pointer is. A snapshot that fails is refused; the one before keeps serving.

    At start, when nothing serves yet, that is the nearest sound one of those that the pointer named before.
    """

    def __init__(
        self,
        deployment: Deployment,
        prepare: Callable[[ServedSnapshot], Awaitable[None]],
        swapped: Callable[[], None],
        metrics: Metrics,
        poll_seconds: float,
        verify_at_start: bool,
    ) -> None:
        """`prepare` makes ready what else a snapshot needs before it is served; it may refuse by raising. `swapped`
        hears that another one is served.
        """
        self._deployment = deployment
        self._prepare = prepare
        self._swapped = swapped
        self._metrics = metrics
        self._poll_seconds = poll_seconds
        self._verify_at_start = verify_at_start
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="loader")
        self._turn = asyncio.Lock()
        self.refused: tuple[str, str] | None = None
        """The snapshot that was refused last and why, while the pointer names it."""
        self.failure: str | None = None
        """Why the pointer could not be read, while it cannot."""

    async def follow(self) -> None:
        """Follow the pointer until cancelled."""
        while True:
            await self.catch_up()
            await asyncio.sleep(self._poll_seconds)

    async def catch_up(self, *, retry: bool = False) -> None:
        """Serve what the pointer names now. A snapshot that was refused is tried again only with `retry`."""
        async with self._turn:
            try:
                wanted = self._deployment.store.current()
            except (StoreError, OSError) as error:
                if self.failure is None:
                    log.error("the store's pointer cannot be read: %s", error)
                self.failure = str(error)
                await self._fall_back()
                return
            self.failure = None
            active = self._deployment.active
            if wanted is None or (active is not None and active.id == wanted):
                self.refused = None
                return
            if self.refused is not None and self.refused[0] == wanted and not retry:
                return
            served = await self._loaded(wanted, "hash" if active is not None or self._verify_at_start else "size")
            if served is not None:
                self._serve(served)
            else:
                await self._fall_back()

    async def activate(self, snapshot_id: str) -> None:
        """Load a snapshot, move the pointer to it, serve it. Raises `StoreError`; then nothing has moved."""
        async with self._turn:
            loop = asyncio.get_running_loop()
            active = self._deployment.active
            if active is None or active.id != snapshot_id:
                active = await loop.run_in_executor(self._loader, self._deployment.load, snapshot_id, "hash")
                await self._prepare(active)
            await loop.run_in_executor(self._loader, self._deployment.store.promote, snapshot_id)
            self._serve(active)

    async def rollback(self) -> None:
        """Move the pointer to the snapshot before, and serve it. Raises `StoreError`."""
        await asyncio.get_running_loop().run_in_executor(self._loader, self._deployment.store.rollback)
        await self.catch_up(retry=True)

    def close(self) -> None:
        """End the loading thread; a load that is under way is waited for."""
        self._loader.shutdown(wait=True, cancel_futures=True)

    def _serve(self, served: ServedSnapshot, *, instead: bool = False) -> None:
        """`instead`: of what the pointer names, which stays refused."""
        if not instead:
            self.refused = None
        self._deployment.activate(served)
        self._swapped()
        created, loaded = served.manifest.created_at, served.loaded_at
        self._metrics.swapped(served.id, created.timestamp(), loaded.timestamp())

    async def _fall_back(self) -> None:
        """Where nothing serves yet: serve the nearest sound snapshot of those that were current before."""
        if self._deployment.active is not None:
            return
        try:
            earlier = self._deployment.store.earlier()
        except StoreError:
            return
        refused = self.refused
        for snapshot_id in earlier:
            served = await self._loaded(snapshot_id, "hash")
            self.refused = refused
            if served is not None:
                log.warning("snapshot %s, which was current before, serves instead", snapshot_id)
                self._serve(served, instead=True)
                return

    async def _loaded(self, snapshot_id: str, verify: Verification) -> ServedSnapshot | None:
        """The snapshot, ready to serve; None where it was refused, whatever was wrong with it."""
        loop = asyncio.get_running_loop()
        try:
            served = await loop.run_in_executor(self._loader, self._deployment.load, snapshot_id, verify)
            await self._prepare(served)
        except Exception as error:  # damaged numbers can make any library raise anything
            self.refused = (snapshot_id, f"{type(error).__name__}: {error}")
            self._metrics.refused()
            log.error("snapshot %s refused: %s", snapshot_id, error)
            return None
        return served
