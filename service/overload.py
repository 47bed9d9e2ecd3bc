"""A bound on what one worker has taken on: beyond it, callers hear so at once instead of waiting in line."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Receive, Scope, Send

from service.access import PROBES
from service.errors import Overloaded
from service.problems import problem_response


class Overload:
    """Refuses requests beyond `most` unfinished ones with 503 and `Retry-After`. Probes always pass."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most
        self._unfinished = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        if self._unfinished >= self._most:
            context = scope.get("magnet.request")
            error = Overloaded(f"this worker answers {self._most} requests already")
            await problem_response(error, context.request_id if context else "-")(scope, receive, send)
            return
        self._unfinished += 1
        try:
            # Quick requests never leave the event loop, so without this turn each would be over before the next of a
            # crowd is counted, and the last of the crowd would have waited for all of them.
            await asyncio.sleep(0)
            await self._app(scope, receive, send)
        finally:
            self._unfinished -= 1
