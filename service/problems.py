"""Errors as `application/problem+json`, whatever raised them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from service.errors import MEDIA_TYPE, InvalidRequest, MethodNotAllowed, ServiceError, UnknownRoute

SHOWN_CHARACTERS = 100
SHOWN_ERRORS = 20


def problem_response(error: ServiceError, request_id: str) -> Response:
    """The response of an error."""
    body = orjson.dumps(error.problem(request_id))
    return Response(body, error.status, headers=error.headers, media_type=MEDIA_TYPE)


def unexpected(request_id: str) -> Response:
    """The response where the code failed."""
    return problem_response(ServiceError("an unexpected error; the log has it under request_id"), request_id)


def invalid_request(errors: Sequence[Any]) -> InvalidRequest:
    """Pydantic's findings as one error: the first fields, what was wrong with each, and what was found (cut short)."""
    found = [
        {
            "field": ".".join(str(part) for part in entry["loc"])[:SHOWN_CHARACTERS] or "request",
            "message": entry["msg"],
            "found": _beginning(entry.get("input")),
        }
        for entry in errors[:SHOWN_ERRORS]
    ]
    said = [f"{entry['field']}: {entry['message']}" for entry in found]
    if len(errors) > len(found):
        said.append(f"and {len(errors) - len(found)} more")
    return InvalidRequest("; ".join(said), errors=found)


def install_problems(app: FastAPI) -> None:
    """Answer every error of `app` with a problem document."""

    @app.exception_handler(ServiceError)
    async def service_error(request: Request, error: ServiceError) -> Response:
        return problem_response(error, _request_id(request))

    @app.exception_handler(RequestValidationError)
    async def validation_error(request: Request, error: RequestValidationError) -> Response:
        return problem_response(invalid_request(error.errors()), _request_id(request))

    @app.exception_handler(Exception)
    async def defect(request: Request, error: Exception) -> Response:
        return unexpected(_request_id(request))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        return problem_response(_translated(request, error), _request_id(request))


def _translated(request: Request, error: HTTPException) -> ServiceError:
    if error.status_code == 404:
        return UnknownRoute(f"{request.method} {request.url.path[:SHOWN_CHARACTERS]}: no such path; /docs lists them")
    if error.status_code == 405:
        return MethodNotAllowed(f"{request.method}: not allowed here", headers=dict(error.headers or {}))
    return InvalidRequest(str(error.detail))


def _request_id(request: Request) -> str:
    context = request.scope.get("magnet.request")
    return str(context.request_id) if context is not None else "-"


def _beginning(value: object) -> str:
    """How `repr(value)` begins; of what is large, no more is written than is shown."""
    written = ""
    for piece in _pieces(value):
        written += piece
        if len(written) >= SHOWN_CHARACTERS:
            break
    return written[:SHOWN_CHARACTERS]


def _pieces(value: object) -> Iterator[str]:
    """`repr(value)` of what JSON can hold, bit by bit; long texts cut short."""
    if isinstance(value, dict):
        yield "{"
        for place, (name, member) in enumerate(value.items()):
            yield ", " if place else ""
            yield from _pieces(name)
            yield ": "
            yield from _pieces(member)
        yield "}"
    elif isinstance(value, list):
        yield "["
        for place, member in enumerate(value):
            yield ", " if place else ""
            yield from _pieces(member)
        yield "]"
    else:
        yield repr(value[:SHOWN_CHARACTERS] if isinstance(value, str | bytes) else value)
