"""Which snapshot is served: loaded beside the old one, then swapped in one assignment."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from model_store.snapshot import Verification
from model_store.store import Store
from service.errors import Expired, NotReady
from service.imprint import Imprint
from service.retrieval.choice import IndexChoice
from service.served import ServedSnapshot

log = logging.getLogger("magnet.deployment")


class Deployment:
    """The active snapshot of this worker, and the one before it for pages that still point there."""

    def __init__(self, root: Path, index: IndexChoice = "cpu", answer_ttl_seconds: float = 0.0) -> None:
        """`answer_ttl_seconds`: for so long answers of a snapshot that has left memory may be explained."""
        self.store = Store(root)
        self._index: IndexChoice = index
        self._answer_ttl = answer_ttl_seconds
        self._imprints: dict[str, tuple[float, Imprint]] = {}
        """Of snapshots that have left memory, and until when their answers may be explained."""
        self._active: ServedSnapshot | None = None
        self._previous: ServedSnapshot | None = None

    @property
    def active(self) -> ServedSnapshot | None:
        """What new requests are answered from; None before the first snapshot exists."""
        return self._active

    @property
    def previous(self) -> ServedSnapshot | None:
        """The snapshot before the active one, while it is in memory."""
        return self._previous

    def require(self) -> ServedSnapshot:
        """The active snapshot. Raises `NotReady` where there is none."""
        if self._active is None:
            raise NotReady("no snapshot has been promoted in the store yet")
        return self._active

    def loaded(self, snapshot_id: str) -> ServedSnapshot | None:
        """The snapshot of this id while it is in memory."""
        for served in (self._active, self._previous):
            if served is not None and served.id == snapshot_id:
                return served
        return None

    def imprint(self, snapshot_id: str) -> Imprint | None:
        """What answers of this snapshot print, while it is in memory and as long as its answers are kept."""
        if (served := self.loaded(snapshot_id)) is not None:
            return served.imprint
        return self._imprints[snapshot_id][1] if snapshot_id in self._imprints else None

    def pinned(self, snapshot_id: str) -> ServedSnapshot:
        """The snapshot of this id while it is in memory. Raises `Expired` afterwards."""
        if (served := self.loaded(snapshot_id)) is not None:
            return served
        raise Expired(f"snapshot {snapshot_id!r} is no longer in memory; start again without `at`")

    def load(self, snapshot_id: str, verify: Verification) -> ServedSnapshot:
        """Open, check, index and warm up a snapshot; takes seconds and runs in a thread. Raises `StoreError`."""
        served = ServedSnapshot(self.store.open(snapshot_id, verify=verify), index=self._index)
        served.warm_up()
        return served

    def activate(self, served: ServedSnapshot) -> None:
        """Serve `served` from the next request on."""
        if self._active is not None and self._active.id == served.id:
            return
        now = time.monotonic()
        self._imprints = {name: entry for name, entry in self._imprints.items() if entry[0] > now}
        if self._previous is not None:
            self._imprints[self._previous.id] = (now + self._answer_ttl, self._previous.imprint)
        self._previous, self._active = self._active, served
        log.info("serving snapshot %s (%s)", served.id, served.manifest.model)
