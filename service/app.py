"""The application factory: settings in, an ASGI application out."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from model_store.version import VERSION
from service.access import Keys
from service.body_limit import BodyLimit
from service.document import document_of
from service.envelope import Envelope
from service.problems import install_problems
from service.request_spans import RequestSpans
from service.routes import admin, console, events, explain, items, lookups, probes, recommend, similar, snapshots
from service.routes.lean import LeanRoute
from service.service import Service
from service.settings import Settings
from service.tracing import OtlpTracing

DESCRIPTION = """Recommendations from behaviour, looks and text, each with the exact share of its score that every
expert contributed. Every answer comes from one snapshot, named in `X-Snapshot-Id`."""


class Application(FastAPI):
    """FastAPI inside of what surrounds every request."""

    around: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        scope["app"] = self
        await self.around(scope, receive, send)

    async def inside(self, scope: Scope, receive: Receive, send: Send) -> None:
        """FastAPI's own ASGI interface."""
        await super().__call__(scope, receive, send)


def create_app(settings: Settings | None = None) -> Application:
    """The application for `settings`, or for the environment's."""
    settings = settings or Settings()
    service = Service(settings)
    app = Application(
        title="MAGNET",
        version=VERSION,
        description=DESCRIPTION,
        lifespan=_lifespan,
        redirect_slashes=False,
    )
    app.state.service = service
    for subject in (recommend, similar, explain, events, items, lookups, snapshots, admin, probes, console):
        app.router.routes.extend(subject.router.routes)
    install_problems(app)
    app.add_middleware(BodyLimit, max_bytes=int(settings.max_body_mb * 2**20))
    app.around = Envelope(
        app.inside,
        deployment=service.deployment,
        metrics=service.metrics if settings.metrics else None,
        keys=Keys.read(settings),
        limiting=service.limiting,
        most=settings.max_in_flight,
        direct=[route for route in app.router.routes if isinstance(route, LeanRoute)],
    )
    if isinstance(service.tracing, OtlpTracing):
        app.around = RequestSpans(app.around, service.tracing)
    # how FastAPI's manual extends the document; to a type checker a method is no attribute
    app.openapi = cache(lambda: document_of(app, settings))  # type: ignore[method-assign]
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    await service.start()
    app.openapi()  # made once, for it takes longer than anybody should wait
    # What is here by now stays: without this every full collection looks through it, for longer than 5 ms.
    gc.collect()
    gc.freeze()
    yield
    await service.stop()
