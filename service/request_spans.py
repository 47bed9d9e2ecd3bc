"""A span around every request; only there where traces are sent."""

from __future__ import annotations

from typing import cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.envelope import SCOPE_KEY, RequestContext
from service.tracing import OtlpTracing


class RequestSpans:
    """Named by method and route, with the status, the request id and the snapshot; never with a user or a key."""

    def __init__(self, app: ASGIApp, tracing: OtlpTracing) -> None:
        self._app = app
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        status = 0

        async def send_noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with self._tracing.request(scope["method"], headers) as span:
            try:
                await self._app(scope, receive, send_noted)
            finally:
                route = getattr(scope.get("route"), "path_format", "unknown")
                context = cast(RequestContext, scope[SCOPE_KEY])
                span.update_name(f"{scope['method']} {route}")
                span.set_attribute("http.request.method", scope["method"])
                span.set_attribute("http.route", route)
                span.set_attribute("http.response.status_code", status)
                span.set_attribute("magnet.request_id", context.request_id)
                span.set_attribute("magnet.snapshot", context.snapshot_id or "")
