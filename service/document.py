"""The OpenAPI document: FastAPI's own, with examples, and what surrounds every call: keys, limits, shape of errors."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service.access import ADMIN_PREFIX, PROBES
from service.errors import BodyTooLarge, KeyRequired, Overloaded, ServiceError, TooManyRequests, documented
from service.schemas.answers import Problem
from service.schemas.examples import EXAMPLES, Example
from service.settings import Settings

KEY_IN_HEADERS: list[dict[str, list[str]]] = [{"bearer": []}, {"key": []}]
SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key; the admin key for admin calls."},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same, as a header of its own."},
}


def _link(path: str, description: str, **parameters: str) -> dict[str, Any]:
    pointer = path.replace("~", "~0").replace("/", "~1")
    return {"operationRef": f"#/paths/{pointer}/get", "description": description, "parameters": parameters}


_EXPLAIN = _link(
    "/explain",
    "Why the first item is there.",
    recommendation_id="$response.body#/recommendation_id",
    item="$response.body#/items/0/item",
)
_USER = _link("/users/{user_id}", "Gone: 404.", user_id="$request.path.user_id")
_ITEM = _link("/items/{item_id}", "As it is now.", item_id="$request.path.item_id")
LINKS: dict[tuple[str, str], dict[str, dict[str, Any]]] = {
    ("GET", "/recommend/{user_id}"): {"explain": _EXPLAIN},
    ("POST", "/recommend/session"): {"explain": _EXPLAIN},
    ("POST", "/events"): {
        "user": _link("/users/{user_id}", "With what happened.", user_id="$request.body#/events/0/user"),
        "recommend": _link("/recommend/{user_id}", "With what happened.", user_id="$request.body#/events/0/user"),
    },
    ("DELETE", "/users/{user_id}"): {"user": _USER},
    ("PUT", "/items/{item_id}"): {"item": _ITEM},
    ("DELETE", "/items/{item_id}"): {"item": _ITEM},
}
"""What is asked next with what a call gave."""


def document_of(app: FastAPI, settings: Settings) -> dict[str, Any]:
    """What the application offers as it is configured."""
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    components = document.setdefault("components", {})
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    components.setdefault("schemas", {})["Problem"] = schema
    components["securitySchemes"] = SCHEMES
    locked = settings.api_keys is not None or settings.api_keys_file is not None
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            _show(operation, EXAMPLES.get((method.upper(), path)))
            if (links := LINKS.get((method.upper(), path))) is not None:
                operation["responses"]["200"]["links"] = links
        if path in PROBES:
            continue
        for operation in operations.values():
            if locked or path.startswith(ADMIN_PREFIX):
                operation["security"] = KEY_IN_HEADERS
            errors: list[type[ServiceError]] = [Overloaded]
            errors += [KeyRequired] if locked and not path.startswith(ADMIN_PREFIX) else []
            errors += [TooManyRequests] if settings.rate_limit is not None else []
            errors += [BodyTooLarge] if "requestBody" in operation else []
            _add(operation["responses"], errors)
    return document


def _show(operation: dict[str, Any], example: Example | None) -> None:
    """Put the example of a call beside its schemas."""
    if example is None:
        return
    for content in operation["responses"]["200"]["content"].values():
        content["example"] = example.answer
    if example.body is not None:
        operation["requestBody"]["content"]["application/json"]["example"] = example.body


def _add(responses: dict[str, Any], errors: list[type[ServiceError]]) -> None:
    """Document `errors` beside what is there; where two share a status, the titles are joined."""
    for status, entry in documented(*errors).items():
        there = responses.get(str(status))
        if there is not None:
            entry["description"] = f"{there['description']} · {entry['description']}"
        responses[str(status)] = entry
