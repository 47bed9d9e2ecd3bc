"""Things kept in memory for a while: the oldest leave when space or time runs out."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

V = TypeVar("V")
LOOKED_AT_ONCE = 2000
"""How many entries are looked at in one go: less than a millisecond."""


class Shelf(Generic[V]):
    """First in, first out; bounded in bytes and in seconds, both as told by the caller."""

    def __init__(self, max_bytes: int, ttl_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._kept: OrderedDict[Hashable, tuple[float, int, V]] = OrderedDict()
        self._max_bytes = max_bytes
        self._ttl = ttl_seconds
        self._clock = clock
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, key: Hashable, value: V, size: int) -> None:
        """Keep `value`, which takes `size` bytes; what no longer fits leaves."""
        now = self._clock()
        if (before := self._kept.pop(key, None)) is not None:
            self.bytes -= before[1]
        self._kept[key] = (now + self._ttl, size, value)
        self.bytes += size
        while self._kept:
            expires, oldest, _ = next(iter(self._kept.values()))
            if self.bytes <= self._max_bytes and expires > now:
                break
            self._kept.popitem(last=False)
            self.bytes -= oldest

    async def remove(self, unwanted: Callable[[Hashable, V], bool]) -> None:
        """Take down whatever `unwanted(key, value)` says of what is there now; others get their turn meanwhile."""
        for number, key in enumerate(list(self._kept)):
            if number % LOOKED_AT_ONCE == 0:
                await asyncio.sleep(0)
            entry = self._kept.get(key)
            if entry is not None and unwanted(key, entry[2]):
                self.bytes -= self._kept.pop(key)[1]

    def get(self, key: Hashable) -> V | None:
        """The value, or None once it has left."""
        entry = self._kept.get(key)
        return entry[2] if entry is not None and entry[0] > self._clock() else None
