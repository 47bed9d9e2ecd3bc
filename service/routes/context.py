"""What the routes get at: the worker's parts, and the one snapshot of the request."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Request

from service.envelope import SCOPE_KEY, RequestContext
from service.errors import NotReady
from service.served import ServedSnapshot
from service.service import Service


def service_of(request: Request) -> Service:
    """The worker's parts."""
    return cast(Service, request.app.state.service)


def context_of(request: Request) -> RequestContext:
    """The request's context, from the envelope."""
    return cast(RequestContext, request.scope[SCOPE_KEY])


def served_by(request: Request) -> ServedSnapshot:
    """The snapshot this request is answered from. Raises `NotReady` where there is none."""
    served = context_of(request).served
    if served is None:
        amiss = service_of(request).degraded()
        raise NotReady(f"nothing to serve: {'; '.join(amiss) or 'no snapshot has been promoted in the store yet'}")
    return served


ServiceParts = Annotated[Service, Depends(service_of)]
Served = Annotated[ServedSnapshot, Depends(served_by)]
