"""No body larger than the configured size is read."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import BodyTooLarge
from service.problems import problem_response

ANNOUNCED = b"content-length"
CHUNKED = b"transfer-encoding"


class BodyLimit:
    """Refuses larger bodies with 413: by what the request announces, or by reading just beyond the limit."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        announced = headers.get(ANNOUNCED, b"")
        size = int(announced) if announced.isdigit() else 0
        if CHUNKED in headers and size == 0:
            body, size = await self._read(receive)
            receive = _replaying(body, receive)
        if size <= self._max_bytes:
            await self._app(scope, receive, send)
            return
        error = BodyTooLarge(f"expected at most {self._max_bytes} bytes, found {size} or more")
        context = scope.get("magnet.request")
        await problem_response(error, context.request_id if context else "-")(scope, receive, send)

    async def _read(self, receive: Receive) -> tuple[bytes, int]:
        """The body, and how much of it was read: no further than just beyond the limit."""
        parts: list[bytes] = []
        size, more = 0, True
        while more and size <= self._max_bytes:
            message = await receive()
            more = message["type"] == "http.request" and message.get("more_body", False)
            parts.append(message.get("body", b""))
            size += len(parts[-1])
        return b"".join(parts), size


def _replaying(body: bytes, receive: Receive) -> Receive:
    """The body that was read, as one message; whatever comes after, from the connection."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
