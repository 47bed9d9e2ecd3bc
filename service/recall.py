"""Snapshots that are no longer served, opened again to say more about answers that they gave."""

from __future__ import annotations

import asyncio
import logging

from model_store.errors import StoreError
from service.deployment import Deployment
from service.imprint import Imprint
from service.served import ServedSnapshot
from service.view import View

log = logging.getLogger("magnet.recall")


class Recall:
    """Keeps the one snapshot opened last, without an index: its arrays are mapped, so it takes little memory."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._turn = asyncio.Lock()
        self._last: View | None = None

    async def imprint(self, snapshot_id: str) -> Imprint | None:
        """What answers of this snapshot print; None where neither this worker nor the store has it any more."""
        found = self._deployment.imprint(snapshot_id)
        if found is None and (view := await self.view(snapshot_id)) is not None:
            found = view.served.imprint
        return found

    async def view(self, snapshot_id: str) -> View | None:
        """The snapshot's own items; None where it has left the store."""
        async with self._turn:
            if self._last is None or self._last.served.id != snapshot_id:
                try:
                    self._last = await asyncio.to_thread(self._open, snapshot_id)
                except (StoreError, OSError) as error:
                    log.info("snapshot %s cannot be opened again: %s", snapshot_id, error)
                    return None
            return self._last

    def _open(self, snapshot_id: str) -> View:
        return View(ServedSnapshot(self._deployment.store.open(snapshot_id, verify="size"), indexed=False))
