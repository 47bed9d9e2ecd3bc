"""Every event of the state as one file, for the trainer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

from model_store.events import Event, write_events
from service.errors import StateUnavailable
from service.service import state_store_for
from service.settings import Settings
from service.state.embedded import FILE, EmbeddedState
from service.state.protocol import StateStore

BLOCK = 1000


def export_to(settings: Settings, out: Path) -> int:
    """Write the events to `out`, one block in memory at a time; how many there were.

    Raises `StateUnavailable` where there is no state, `StoreError` where the file cannot be written.
    """
    store = state_store_for(settings)
    if isinstance(store, EmbeddedState) and not (store.folder / FILE).is_file():
        raise StateUnavailable(f"{store.folder}: expected the state of a service ({FILE}), found none")
    count = 0

    def counted() -> Iterator[Event]:
        nonlocal count
        for event in _events(store):
            count += 1
            yield event

    write_events(out, counted())
    return count


def _events(store: StateStore) -> Iterator[Event]:
    with asyncio.Runner() as runner:
        runner.run(store.start())
        try:
            export = store.export()

            async def block() -> list[Event]:
                found: list[Event] = []
                async for event in export:
                    found.append(event)
                    if len(found) == BLOCK:
                        break
                return found

            while found := runner.run(block()):
                yield from found
        finally:
            runner.run(store.stop())
