"""What can go wrong in the service: each error knows its HTTP status and a stable problem type (RFC 9457)."""

from __future__ import annotations

import math
from typing import Any, ClassVar

TYPE_PREFIX = "urn:problem-type:magnet:"
MEDIA_TYPE = "application/problem+json"


class ServiceError(Exception):
    """Base of every error the service answers with. `detail` says what was expected, what was found, and where.

    Subclasses set `status`, `slug` and `title`; they are part of the interface and never change. `members` become
    extension members of the problem document.
    """

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "The service failed to answer"

    def __init__(self, detail: str, *, headers: dict[str, str] | None = None, **members: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = headers or {}
        self.members = members

    def problem(self, request_id: str) -> dict[str, Any]:
        """The problem document of this error."""
        return {
            "type": TYPE_PREFIX + self.slug,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "request_id": request_id,
            **self.members,
        }

    @classmethod
    def documentation(cls) -> dict[str, Any]:
        """The OpenAPI response object of this error."""
        example = {"type": TYPE_PREFIX + cls.slug, "title": cls.title, "status": cls.status, "detail": "…"}
        schema = {"$ref": "#/components/schemas/Problem"}
        return {"description": cls.title, "content": {MEDIA_TYPE: {"schema": schema, "example": example}}}


def documented(*errors: type[ServiceError]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI responses of a route that can raise `errors`; where two share a status, the titles are joined."""
    responses: dict[int | str, dict[str, Any]] = {}
    for error in errors:
        entry = error.documentation()
        if error.status in responses:
            entry["description"] = f"{responses[error.status]['description']} · {entry['description']}"
        responses[error.status] = entry
    return responses


class InvalidRequest(ServiceError):
    """A parameter or body that the interface does not allow."""

    status = 422
    slug = "invalid-request"
    title = "The request is not valid"


class KeyRequired(ServiceError):
    """A call without a valid API key where keys are configured."""

    status = 401
    slug = "key-required"
    title = "A valid API key is required"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"})


class AdminKeyRequired(ServiceError):
    """An admin call without the admin key, or where none is configured."""

    status = 403
    slug = "admin-key-required"
    title = "The admin key is required"


class UnknownUser(ServiceError):
    """A look-up of a user that neither the snapshot nor the events know."""

    status = 404
    slug = "unknown-user"
    title = "No such user"


class UnknownItem(ServiceError):
    """A look-up of an item that neither the snapshot nor the live catalogue knows."""

    status = 404
    slug = "unknown-item"
    title = "No such item"


class UnknownSnapshot(ServiceError):
    """A snapshot that the store does not hold."""

    status = 404
    slug = "unknown-snapshot"
    title = "No such snapshot"


class SnapshotRefused(ServiceError):
    """A snapshot that cannot be served; the one before keeps serving."""

    status = 409
    slug = "snapshot-refused"
    title = "The snapshot was refused"


class StoreUnavailable(ServiceError):
    """The snapshot store cannot do what was asked."""

    status = 503
    slug = "store-unavailable"
    title = "The snapshot store is unavailable"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"Retry-After": "5"})


class UnknownPicture(ServiceError):
    """A picture that the store does not hold."""

    status = 404
    slug = "unknown-picture"
    title = "No such picture"


class UnknownDocument(ServiceError):
    """A document that the served snapshot came without."""

    status = 404
    slug = "unknown-document"
    title = "No such document"


class UnknownRoute(ServiceError):
    """A path that the interface does not have."""

    status = 404
    slug = "unknown-route"
    title = "No such path"


class MethodNotAllowed(ServiceError):
    """A path that exists, called with another method."""

    status = 405
    slug = "method-not-allowed"
    title = "Method not allowed"


class Expired(ServiceError):
    """An answer or a page whose values are no longer kept."""

    status = 410
    slug = "expired"
    title = "No longer kept"


class BodyTooLarge(ServiceError):
    """A body beyond the configured size."""

    status = 413
    slug = "body-too-large"
    title = "The body is too large"


class TooManyRequests(ServiceError):
    """A caller beyond the configured rate."""

    status = 429
    slug = "too-many-requests"
    title = "Too many requests"

    def __init__(self, detail: str, retry_seconds: float) -> None:
        super().__init__(detail, headers={"Retry-After": str(math.ceil(retry_seconds))})


class Overloaded(ServiceError):
    """More at once than a worker takes on."""

    status = 503
    slug = "overloaded"
    title = "Too much at once"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"Retry-After": "1"})


class NotReady(ServiceError):
    """Nothing to serve from yet."""

    status = 503
    slug = "not-ready"
    title = "No snapshot is served yet"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"Retry-After": "2"})


class StateUnavailable(ServiceError):
    """The state store cannot do what was asked; nothing was acknowledged."""

    status = 503
    slug = "state-unavailable"
    title = "The state store is unavailable"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"Retry-After": "1"})
