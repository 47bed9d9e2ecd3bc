"""What surrounds every request, in one pass: its id and snapshot, who may call and how often, an answer in any case."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from fastapi.exceptions import RequestValidationError
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access import PROBES, Keys, caller_of
from service.deployment import Deployment
from service.errors import Overloaded, ServiceError
from service.limiting import Limiting
from service.logs import request_id
from service.problems import invalid_request, problem_response, unexpected
from service.served import ServedSnapshot
from service.telemetry import Metrics
from service.workbench import turn

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
    counts: bool = False
    """Whether it is one of those that a worker has taken on."""

    @property
    def snapshot_id(self) -> str | None:
        """Where what is answered comes from."""
        return self.recalled or (self.served.id if self.served is not None else None)


class DirectRoute(Protocol):
    """A route that is asked without the application's routing."""

    @property
    def prefix(self) -> str:
        """What its paths begin with; a GET of such a path is its."""

    async def respond(self, scope: Scope, receive: Receive) -> Response:
        """The response; it may raise what the application's routes raise."""


class Envelope:
    """Gives the request its context, refuses what may not pass, adds `X-Request-Id` and `X-Snapshot-Id`, turns crashes
    into problems. Probes are never refused.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        deployment: Deployment,
        metrics: Metrics | None = None,
        keys: Keys,
        limiting: Limiting | None = None,
        most: int,
        direct: Sequence[DirectRoute] = (),
    ) -> None:
        """`most`: beyond so many unfinished requests callers hear 503 at once instead of waiting in line."""
        self._app = app
        self._deployment = deployment
        self._metrics = metrics
        self._keys = keys
        self._limiting = limiting
        self._most = most
        self._unfinished = 0
        self._direct = [(route.prefix, route) for route in direct]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context = scope[SCOPE_KEY] = RequestContext(_request_id(scope), self._deployment.active)
        request_id.set(context.request_id)
        status, over = 0, False
        # HEAD as GET: the server, which holds the scope itself, leaves the body out
        asked = scope if scope["method"] != "HEAD" else {**scope, "method": "GET"}
        began = time.perf_counter()

        async def send_named(message: Message) -> None:
            nonlocal status, over
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message["headers"] = list(message.get("headers", ()))
                headers.append((b"x-request-id", context.request_id.encode()))
                if (snapshot_id := context.snapshot_id) is not None:
                    headers.append((b"x-snapshot-id", snapshot_id.encode()))
            else:
                over = not message.get("more_body", False)
            await send(message)

        try:
            response = await self._response(asked, receive, context)
            if response is None:
                await self._app(asked, receive, send_named)
            else:
                await response(asked, receive, send_named)
        except Exception:
            log.exception("request %s failed", context.request_id)
            if status and not over:  # cut off: the connection has to end
                raise
            if not status:
                await unexpected(context.request_id)(asked, receive, send_named)
        finally:
            self._unfinished -= context.counts
            scope["route"] = asked.get("route")  # traces stand around this and read it there
            if self._metrics is not None:
                route = getattr(scope["route"], "path_format", "unknown")
                self._metrics.request(route, scope["method"], status, time.perf_counter() - began)

    async def _response(self, scope: Scope, receive: Receive, context: RequestContext) -> Response | None:
        """A refusal, or what a direct route says; None for everything else."""
        path = scope["path"]
        if path in PROBES:
            return None
        try:
            if self._unfinished >= self._most:
                raise Overloaded(f"this worker answers {self._most} requests already")
            self._unfinished += 1
            context.counts = True
            caller = caller_of(scope)
            self._keys.check(path, caller)
            if self._limiting is not None:
                await self._limiting.check(self._keys.known(caller), scope)
            if scope["method"] == "GET":
                for prefix, route in self._direct:
                    if path.startswith(prefix):
                        return await route.respond(scope, receive)
        except ServiceError as error:
            return problem_response(error, context.request_id)
        except RequestValidationError as error:
            return problem_response(invalid_request(error.errors()), context.request_id)
        await turn()
        return None


def _request_id(scope: Scope) -> str:
    """The caller's `X-Request-Id` where it is harmless, a fresh one otherwise."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value.decode())
    return secrets.token_hex(8)
