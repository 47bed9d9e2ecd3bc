"""How often a caller may call: per API key, per address without keys; shared through Redis where there is one."""

from __future__ import annotations

import hashlib
import logging
import time

from limits import RateLimitItem, parse
from limits.aio.storage import Storage
from limits.aio.strategies import MovingWindowRateLimiter
from limits.storage import storage_from_string
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.access import PROBES, presented
from service.errors import TooManyRequests
from service.problems import problem_response
from service.settings import Settings

log = logging.getLogger("magnet.limiting")
TIMEOUT_SECONDS = 0.25
"""How long one request waits for the shared counter."""
CLOCK_STEP_SECONDS = 1.0
PAUSE_SECONDS = 5.0
"""For how long a counter that did not answer is not asked again."""


class Limiting:
    """Refuses calls beyond the configured rate with 429 and `Retry-After`. Probes are never refused."""

    def __init__(self, app: ASGIApp, rate: str, settings: Settings) -> None:
        self._app = app
        self._rate: RateLimitItem = parse(rate)
        self._limiter = MovingWindowRateLimiter(_storage(settings))
        self._unavailable_until = 0.0
        self._latest = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        wait = await self._wait(scope) if scope["type"] == "http" and scope["path"] not in PROBES else None
        if wait is None:
            await self._app(scope, receive, send)
            if scope["type"] == "lifespan":  # which ends with the service
                await self.close()
            return
        context = scope.get("magnet.request")
        error = TooManyRequests(f"expected at most {self._rate}", wait)
        await problem_response(error, context.request_id if context else "-")(scope, receive, send)

    async def close(self) -> None:
        """Let go of the shared counter's connections."""
        bridge = getattr(self._limiter.storage, "bridge", None)
        if bridge is not None:
            await bridge.storage.aclose()

    async def _wait(self, scope: Scope) -> float | None:
        """Seconds to wait, None where the call may pass. Where the counter is unavailable, it may."""
        if time.monotonic() < self._unavailable_until:
            return None
        caller = _caller(scope)
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
        return max(window.reset_time - now, 1.0)


def _storage(settings: Settings) -> Storage:
    if settings.redis_url is None:
        storage = storage_from_string("async+memory://")
    else:
        url = settings.redis_url.get_secret_value()
        storage = storage_from_string(
            f"async+{url}",
            implementation="redispy",
            key_prefix=f"{settings.redis_prefix}rate",
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
        )
    assert isinstance(storage, Storage)
    return storage


def _caller(scope: Scope) -> str:
    """A name for the caller that does not tell the key."""
    key = presented(Headers(scope=scope))
    if key:
        return hashlib.sha256(key.encode()).hexdigest()[:32]
    return str((scope.get("client") or ("unknown",))[0])
