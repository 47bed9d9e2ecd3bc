"""What surrounds every request: its id, the one snapshot it sees, and an answer even where the code failed."""

from __future__ import annotations

import logging
import re
import secrets
import time
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.deployment import Deployment
from service.errors import ServiceError
from service.logs import request_id
from service.problems import problem_response
from service.served import ServedSnapshot
from service.telemetry import Metrics

log = logging.getLogger("magnet.request")
SCOPE_KEY = "magnet.request"
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


@dataclass
class RequestContext:
    """What belongs to one request. `served` is fixed when the request arrives; a pinned page replaces it at once."""

    request_id: str
    served: ServedSnapshot | None
    recalled: str | None = None
    """The snapshot of a kept answer, which need not be in memory any more."""

    @property
    def snapshot_id(self) -> str | None:
        """Where what is answered comes from."""
        return self.recalled or (self.served.id if self.served is not None else None)


class Envelope:
    """Gives the request its context, adds `X-Request-Id` and `X-Snapshot-Id`, turns crashes into problems."""

    def __init__(self, app: ASGIApp, deployment: Deployment, metrics: Metrics | None) -> None:
        self._app = app
        self._deployment = deployment
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context = RequestContext(_request_id(scope), self._deployment.active)
        scope[SCOPE_KEY] = context
        request_id.set(context.request_id)
        status = 0
        began = time.perf_counter()

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message["headers"] = list(message.get("headers", ()))
                headers.append((b"x-request-id", context.request_id.encode()))
                if (snapshot_id := context.snapshot_id) is not None:
                    headers.append((b"x-snapshot-id", snapshot_id.encode()))
            await send(message)

        try:
            await self._app(scope, receive, send_named)
        except Exception:
            log.exception("request %s failed", context.request_id)
            if status:
                raise
            response = problem_response(
                ServiceError("an unexpected error; the log has it under request_id"), context.request_id
            )
            await response(scope, receive, send_named)
        finally:
            if self._metrics is not None:
                route = getattr(scope.get("route"), "path_format", "unknown")
                self._metrics.request(route, scope["method"], status, time.perf_counter() - began)


def _request_id(scope: Scope) -> str:
    """The caller's `X-Request-Id` where it is harmless, a fresh one otherwise."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value.decode())
    return secrets.token_hex(8)
