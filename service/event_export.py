"""Every event and tombstone of the state as one file, for the trainer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

from model_store.events import Feedback, Forgotten, write_events
from service.errors import StateUnavailable
from service.service import state_store_for
from service.settings import Settings
from service.state.embedded import FILE, EmbeddedState
from service.state.protocol import StateStore

BLOCK = 1000


def export_to(settings: Settings, out: Path) -> tuple[int, int]:
    """Write events and tombstones to `out`, one block in memory at a time; how many there were of each.

    Raises `StateUnavailable` where there is no state, `StoreError` where the file cannot be written.
    """
    store = state_store_for(settings)
    if isinstance(store, EmbeddedState) and not (store.folder / FILE).is_file():
        raise StateUnavailable(f"{store.folder}: expected the state of a service ({FILE}), found none")
    events, tombstones = 0, 0

    def counted() -> Iterator[Feedback]:
        nonlocal events, tombstones
        for entry in _feedback(store):
            tombstones += isinstance(entry, Forgotten)
            events += not isinstance(entry, Forgotten)
            yield entry

    write_events(out, counted())
    return events, tombstones


def _feedback(store: StateStore) -> Iterator[Feedback]:
    with asyncio.Runner() as runner:
        runner.run(store.start())
        try:
            export = store.export()

            async def block() -> list[Feedback]:
                found: list[Feedback] = []
                async for entry in export:
                    found.append(entry)
                    if len(found) == BLOCK:
                        break
                return found

            while found := runner.run(block()):
                yield from found
        finally:
            runner.run(store.stop())
