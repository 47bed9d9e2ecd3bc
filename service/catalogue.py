"""The live catalogue: keeps a view per loaded snapshot up to date with the mirrored items."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from service.content import ItemContent
from service.new_items import EncodedItem, ItemEncoder
from service.served import ServedSnapshot
from service.state.mirror import Mirror
from service.state.protocol import Edition, LiveItem
from service.view import LiveRow, View

log = logging.getLogger("magnet.catalogue")


class Catalogue:
    """Views of the live items. Encoding happens in one thread of its own, never on the event loop."""

    def __init__(self, mirror: Mirror, loaded: Callable[[str], ServedSnapshot | None]) -> None:
        """`loaded` tells which snapshots are asked for: the one that is served, and the one before."""
        self._mirror = mirror
        self._loaded = loaded
        self._views: dict[str, View] = {}
        self._encoders: dict[str, ItemEncoder] = {}
        self._encoded: dict[tuple[str, str, int, int], EncodedItem | None] = {}
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="catalogue")

    def view(self, served: ServedSnapshot) -> View:
        """The catalogue as of the last refresh, seen from `served`; without live items where it was let go of."""
        return self._views.get(served.id) or View(served)

    def encoder(self, served: ServedSnapshot) -> ItemEncoder | None:
        """What makes new items known to this snapshot's model; None before the snapshot was prepared."""
        return self._encoders.get(served.id)

    async def prepare(self, served: ServedSnapshot) -> None:
        """Make the view of a snapshot that is about to be served."""
        loop = asyncio.get_running_loop()
        # Always, for one that was made when this snapshot was served before would keep what was opened then.
        self._encoders[served.id] = await loop.run_in_executor(self._thread, ItemEncoder.of, served.snapshot)
        async with self._turn:
            self._views[served.id] = await self._built(served)
        self.let_go(besides=served)

    def let_go(self, besides: ServedSnapshot | None = None) -> None:
        """Keep nothing of any snapshot but the one that is served, the one before, and the one that is made ready."""
        ready = None if besides is None else besides.id
        kept = {name for name in self._encoders if name == ready or self._loaded(name) is not None}
        self._views = {name: view for name, view in self._views.items() if name in kept}
        self._encoders = {name: encoder for name, encoder in self._encoders.items() if name in kept}

    async def refresh(self) -> None:
        """Take in every change that the mirror knows by now."""
        for view in list(self._views.values()):
            if view.edition != self._mirror.edition:
                await self._renew(view.served.id)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=True)

    async def _renew(self, snapshot_id: str) -> None:
        async with self._turn:
            before = self._views.get(snapshot_id)
            if before is None or before.edition == self._mirror.edition:
                return
            view = await self._built(before.served)
            if self._views.get(snapshot_id) is before:  # else it was let go of meanwhile
                self._views[snapshot_id] = view

    async def _built(self, served: ServedSnapshot) -> View:
        items, edition = dict(self._mirror.items), self._mirror.edition
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._build, served, edition, items)

    def _build(self, served: ServedSnapshot, edition: Edition, items: Mapping[str, LiveItem]) -> View:
        rows = {}
        for item in sorted(items.values(), key=lambda item: item.version):
            content = ItemContent.read(item.content) if item.content is not None else None
            encoded = None
            if content is not None and served.snapshot.item_row(item.item_id) is None:
                encoded = self._encode(served, edition.losses, item, content)
            info = content.info(item.item_id) if content is not None else None
            rows[item.item_id] = LiveRow(info, item.version, item.hidden, encoded)
        current = {(served.id, item.item_id, edition.losses, item.version) for item in items.values()}
        self._encoded = {
            key: kept
            for key, kept in self._encoded.items()
            if (key in current if key[0] == served.id else key[0] in self._encoders)
        }
        return View(served, rows, edition)

    def _encode(self, served: ServedSnapshot, losses: int, item: LiveItem, content: ItemContent) -> EncodedItem | None:
        key = (served.id, item.item_id, losses, item.version)
        encoder = self._encoders.get(served.id)
        if encoder is None:  # let go of meanwhile: nobody will see this view
            return None
        if key not in self._encoded:
            try:
                self._encoded[key] = encoder.encode(content.features_for(encoder.widths))
            except Exception as error:  # ONNX Runtime's errors share no base; one bad item must not stop the others
                log.error("item %r cannot be encoded for snapshot %s: %s", item.item_id, served.id, error)
                self._encoded[key] = None
        return self._encoded[key]
