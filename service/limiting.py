"""How often a caller may call: per API key, per address without keys; shared through Redis where there is one."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Callable

from limits import RateLimitItem, parse
from limits.aio.storage import Storage
from limits.aio.strategies import MovingWindowRateLimiter
from limits.storage import storage_from_string
from pydantic import SecretStr
from starlette.types import Scope

from service.errors import TooManyRequests
from service.settings import Settings

log = logging.getLogger("magnet.limiting")
TIMEOUT_SECONDS = 0.25
"""How long one request waits for the shared counter."""
CLOCK_STEP_SECONDS = 1.0
PAUSE_SECONDS = 5.0
"""For how long a counter that did not answer is not asked again."""


class Limiting:
    """Refuses calls beyond the rate: of any period as long as the rate's, so many calls pass at most."""

    def __init__(self, rate: str, settings: Settings) -> None:
        self._rate: RateLimitItem = parse(rate)
        self._counter: Counter = (
            OwnCounter(self._rate)
            if settings.redis_url is None
            else SharedCounter(self._rate, settings.redis_url, settings.redis_prefix)
        )

    async def check(self, caller: bytes, scope: Scope) -> None:
        """Count a call by the digest of the caller's key, by the address where it is empty. Raises `TooManyRequests`.

        The digest has to be a known key's: names that callers make up would never be held back, and fill the counter.
        """
        # half a digest tells callers apart, and does not tell the key
        name = caller[:16].hex() if caller else str((scope.get("client") or ("unknown",))[0])
        wait = await self._counter.wait(name)
        if wait is not None:
            raise TooManyRequests(f"expected at most {self._rate}", max(wait, 1.0))

    async def close(self) -> None:
        """Let go of connections."""
        await self._counter.close()


class Counter(ABC):
    """What has been called."""

    @abstractmethod
    async def wait(self, caller: str) -> float | None:
        """Count a call; seconds to wait where it may not pass, and does not count, None where it may."""

    async def close(self) -> None:  # noqa: B027 - most have nothing to let go of
        """Let go of connections."""


class OwnCounter(Counter):
    """In this worker's memory: the times of each caller's calls for as long as they count."""

    def __init__(self, rate: RateLimitItem, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._most = rate.amount
        self._seconds = rate.get_expiry()
        self._calls: OrderedDict[str, deque[float]] = OrderedDict()
        """The caller who called last comes last."""

    async def wait(self, caller: str) -> float | None:
        """See `Counter`."""
        now = self._clock()
        since = now - self._seconds
        calls = self._calls.get(caller)
        if calls is None:
            calls = self._calls[caller] = deque()
        else:
            self._calls.move_to_end(caller)
            while calls and calls[0] <= since:
                calls.popleft()
            if len(calls) >= self._most:
                return calls[0] - since
        calls.append(now)
        if (oldest := next(iter(self._calls.values())))[-1] <= since and oldest is not calls:
            self._calls.popitem(last=False)
        return None


class SharedCounter(Counter):
    """In Redis, for all workers together. While it is unavailable, every call may pass."""

    def __init__(self, rate: RateLimitItem, url: SecretStr, prefix: str) -> None:
        self._rate = rate
        address = url.get_secret_value()
        if address.startswith("unix://"):  # redis's word; this library's is another
            address = f"redis+{address}"
        storage = storage_from_string(
            f"async+{address}",
            implementation="redispy",
            key_prefix=f"{prefix}rate",
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
        )
        assert isinstance(storage, Storage)
        self._limiter = MovingWindowRateLimiter(storage)
        self._unavailable_until = 0.0
        self._latest = 0.0

    async def wait(self, caller: str) -> float | None:
        """See `Counter`."""
        if time.monotonic() < self._unavailable_until:
            return None
        now = time.time()
        try:
            if now < self._latest - CLOCK_STEP_SECONDS:  # else calls of a time to come count until it comes
                await self._limiter.storage.reset()
            self._latest = now
            if await self._limiter.hit(self._rate, caller):
                return None
            window = await self._limiter.get_window_stats(self._rate, caller)
        except Exception as error:  # the storages' errors share no base; a counter must never be what fails a request
            log.warning("rates are not limited while their counter is unavailable: %s", error)
            self._unavailable_until = time.monotonic() + PAUSE_SECONDS
            return None
        return window.reset_time - now

    async def close(self) -> None:
        """See `Counter`."""
        bridge = getattr(self._limiter.storage, "bridge", None)
        if bridge is not None:
            await bridge.storage.aclose()
