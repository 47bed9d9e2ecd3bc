"""A route documented by FastAPI and executed without its per-request machinery, which costs more than the answer."""

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
from starlette.types import Receive, Scope, Send

from service.schemas.queries import Query

Q = TypeVar("Q", bound=Query)
QUERIES_KEPT = 4096
MAX_FIELDS = 2000


class LeanRoute(APIRoute):
    """For endpoints of the form `endpoint(request, <path parameter>, wish: Annotated[Model, Query()]) -> Response`.

    The query string is parsed into the model here, and the parsed models of recent query strings are kept: they are
    frozen. FastAPI's own routing gives the same result for the same endpoint; a test holds the two together.
    """

    def __init__(self, path: str, endpoint: Callable[..., Awaitable[Response]], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        (model,) = [field.field_info.annotation for field in self.dependant.query_params]
        self._parameter = self.dependant.path_params[0].name
        assert isinstance(model, type)
        assert issubclass(model, Query)
        self._parse = lru_cache(maxsize=QUERIES_KEPT)(partial(parse_query, model))

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Parse, call the endpoint, send its response; errors go to the application's handlers as usual."""
        if scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        wish = self._parse(scope["query_string"])
        response: Response = await self.endpoint(Request(scope, receive), scope["path_params"][self._parameter], wish)
        await response(scope, receive, send)


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
