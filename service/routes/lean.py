"""Routes documented by FastAPI and asked without its per-request machinery, which costs more than the answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import lru_cache, partial
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope

from service.schemas.queries import Query

Q = TypeVar("Q", bound=Query)
QUERIES_KEPT = 4096
MAX_KEPT_QUERY = 1024
"""In bytes; most are much shorter, but callers may send tens of kilobytes."""
MAX_FIELDS = 2000


class LeanRoute(APIRoute):
    """For endpoints of the form `endpoint(request, <path parameter>, wish: Annotated[Model, Query()]) -> Response`.

    `respond` parses the query string into the model; the models of recent query strings that are not long are kept:
    they are frozen.
    FastAPI's own routing gives the same result for the same endpoint; a test holds the two together.
    """

    def __init__(self, path: str, endpoint: Callable[..., Awaitable[Response]], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        (model,) = [field.field_info.annotation for field in self.dependant.query_params]
        assert isinstance(model, type)
        assert issubclass(model, Query)
        self._parse_long = partial(parse_query, model)
        self._parse = lru_cache(maxsize=QUERIES_KEPT)(self._parse_long)
        self.prefix, _, rest = self.path_format.partition("{")
        assert rest.endswith("}"), path  # one parameter, at the end
        assert self.methods == {"GET"}

    async def respond(self, scope: Scope, receive: Receive) -> Response:
        """The response to a GET of a path that begins with `prefix`; the caller has to answer the endpoint's errors."""
        scope["route"] = self
        query = scope["query_string"]
        wish = self._parse(query) if len(query) <= MAX_KEPT_QUERY else self._parse_long(query)
        response: Response = await self.endpoint(Request(scope, receive), scope["path"][len(self.prefix) :], wish)
        return response


class JsonBytes(Response):
    """A good answer whose body is JSON already, made without the general case's search for what headers it takes."""

    def __init__(self, body: bytes) -> None:
        self.status_code = 200
        self.background = None
        self.body = body
        self.raw_headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]


def parse_query(model: type[Q], query: bytes) -> Q:
    """The query string as a model. Raises `RequestValidationError`, as FastAPI does."""
    fields = model.model_fields
    values: dict[str, Any] = {}
    try:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise RequestValidationError([{"loc": ("query",), "msg": str(error), "input": None}]) from error
    for name, value in pairs:
        if name in fields and isinstance(fields[name].default, tuple):
            values.setdefault(name, []).append(value)
        else:
            values[name] = value
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise RequestValidationError(
            [{**entry, "loc": ("query", *entry["loc"])} for entry in error.errors()]
        ) from error
