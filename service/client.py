"""A typed client of the service: `pip install magnet-rec[client]`. Answers are the very models of the interface.

with MagnetClient("http://127.0.0.1:8000") as magnet:
    for item in magnet.recommend("user-1", k=5).items:
        print(item.rank, item.title, item.score)
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from model_store.events import Event
from service.schemas.answers import Answer, Document, Explanation, Problem, Profile
from service.schemas.bodies import Activated, Answers, EventsKept, Forgotten, Hidden, PutDone
from service.schemas.lookups import (
    Experts,
    Health,
    ItemDetails,
    Items,
    Similar,
    SnapshotDetails,
    UserDetails,
    Users,
)
from service.schemas.queries import Explain
from service.schemas.snapshots import Snapshots

D = TypeVar("D", bound=Document)
TIMEOUT_SECONDS = 10.0
SHOWN_CHARACTERS = 200
FOREIGN = "Not what the service answers"
PICTURE_TYPE = "image/webp"
DOCUMENT_TYPES = ("text/html", "text/markdown", "application/json")


class MagnetError(Exception):
    """The service answered with a problem; `problem.type` names the kind for good.

    It is `about:blank` where something else answered, as a proxy does; `problem.detail` is how that answer begins.
    """

    def __init__(self, problem: Problem, retry_after: float | None) -> None:
        super().__init__(f"{problem.title}: {problem.detail}")
        self.problem = problem
        self.retry_after = retry_after
        """Seconds after which to try again, where the service says so."""


class MagnetClient:
    """Calls one service. Every method raises `MagnetError` for a problem and `httpx.TransportError` for no answer."""

    def __init__(self, address: str, *, key: str | None = None, transport: httpx.BaseTransport | None = None) -> None:
        """`key` is an API key, or the admin key for `activate` and `rollback`."""
        headers = {"X-API-Key": key} if key is not None else {}
        self._http = httpx.Client(base_url=address, headers=headers, timeout=TIMEOUT_SECONDS, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def recommend(
        self,
        user_id: str,
        *,
        k: int = 20,
        offset: int = 0,
        category: Sequence[str] = (),
        exclude: Sequence[str] = (),
        exclude_seen: bool = True,
        diversity: float = 0.0,
        steer: Mapping[str, float] | None = None,
        explain: Explain = "experts",
        at: str | None = None,
    ) -> Answer:
        """The best items for a user; an unknown one gets popular items."""
        wish = _wish(k, offset, category, exclude, exclude_seen, diversity, steer, explain)
        return self._get(Answer, f"/recommend/{_id(user_id)}", **wish, at=at)

    def next_page(self, answer: Answer) -> Answer | None:
        """The page after an answer, from the same snapshot and state; None after the last."""
        return None if answer.next is None else self._get(Answer, answer.next)

    def recommend_many(
        self,
        users: Sequence[str],
        *,
        k: int = 20,
        offset: int = 0,
        category: Sequence[str] = (),
        exclude: Sequence[str] = (),
        exclude_seen: bool = True,
        diversity: float = 0.0,
        steer: Mapping[str, float] | None = None,
        explain: Explain = "experts",
    ) -> Answers:
        """One answer per user."""
        wish = _wish(k, offset, category, exclude, exclude_seen, diversity, steer, explain)
        return self._send(Answers, "POST", "/recommend", {"users": list(users), **wish})

    def recommend_session(
        self,
        items: Sequence[str],
        *,
        k: int = 20,
        offset: int = 0,
        category: Sequence[str] = (),
        exclude: Sequence[str] = (),
        exclude_seen: bool = True,
        diversity: float = 0.0,
        steer: Mapping[str, float] | None = None,
        explain: Explain = "experts",
    ) -> Answer:
        """The best items after these, most recent last."""
        wish = _wish(k, offset, category, exclude, exclude_seen, diversity, steer, explain)
        return self._send(Answer, "POST", "/recommend/session", {"items": list(items), **wish})

    def similar(self, item_id: str, *, by: str = "overall", k: int = 20) -> Similar:
        """Neighbours of an item."""
        return self._get(Similar, f"/similar/{_id(item_id)}", by=by, k=k)

    def explain(self, item: str, *, user: str | None = None, recommendation_id: str | None = None) -> Explanation:
        """One pair in full, recomputed for `user` or as it stood in an answer."""
        return self._get(Explanation, "/explain", item=item, user=user, recommendation_id=recommendation_id)

    def profile(self, user_id: str) -> Profile:
        """A user's expert profile."""
        return self._get(Profile, f"/explain/{_id(user_id)}")

    def experts(self) -> Experts:
        """The model's terms."""
        return self._get(Experts, "/experts")

    def item(self, item_id: str) -> ItemDetails:
        """One item."""
        return self._get(ItemDetails, f"/items/{_id(item_id)}")

    def items(self, query: str = "", *, limit: int = 20) -> Items:
        """Items whose id or title contains `query`."""
        return self._get(Items, "/items", query=query, limit=limit)

    def user(self, user_id: str) -> UserDetails:
        """One user's history."""
        return self._get(UserDetails, f"/users/{_id(user_id)}")

    def users(self, query: str = "", *, limit: int = 20) -> Users:
        """Users whose id begins with `query`."""
        return self._get(Users, "/users", query=query, limit=limit)

    def media(self, media_hash: str) -> bytes:
        """A picture (WebP)."""
        return self._content(f"/media/{_id(media_hash)}", PICTURE_TYPE)

    def send_events(self, events: Sequence[Event]) -> EventsKept:
        """Keep what users did; durable when this returns. Safe to repeat."""
        body = {"events": [event.model_dump(exclude_none=True) for event in events]}
        return self._send(EventsKept, "POST", "/events", body)

    def put_item(
        self,
        item_id: str,
        *,
        title: str | None = None,
        categories: Sequence[str] = (),
        description: str | None = None,
        image: bytes | None = None,
        features: Mapping[str, Sequence[float]] | None = None,
    ) -> PutDone:
        """Add or change an item; `image` is the content of a picture file."""
        body = {
            "title": title,
            "categories": list(categories),
            "description": description,
            "image": None if image is None else base64.b64encode(image).decode(),
            "features": {name: list(values) for name, values in (features or {}).items()},
        }
        return self._send(PutDone, "PUT", f"/items/{_id(item_id)}", body)

    def hide_item(self, item_id: str) -> Hidden:
        """Hide an item."""
        return self._send(Hidden, "DELETE", f"/items/{_id(item_id)}")

    def forget_user(self, user_id: str) -> Forgotten:
        """Forget a user."""
        return self._send(Forgotten, "DELETE", f"/users/{_id(user_id)}")

    def snapshot(self) -> SnapshotDetails:
        """What is served."""
        return self._get(SnapshotDetails, "/snapshot")

    def snapshots(self) -> Snapshots:
        """What the store holds."""
        return self._get(Snapshots, "/snapshots")

    def document(self, name: str) -> bytes:
        """What the served snapshot came with: `report` (HTML), `model-card` (Markdown) or `history` (JSON)."""
        return self._content(f"/snapshot/{_id(name)}", *DOCUMENT_TYPES)

    def activate(self, snapshot: str) -> Activated:
        """Serve another snapshot; needs the admin key."""
        return self._send(Activated, "POST", "/admin/activate", {"snapshot": snapshot})

    def rollback(self) -> Activated:
        """Serve the snapshot before; needs the admin key."""
        return self._send(Activated, "POST", "/admin/rollback")

    def ready(self) -> Health:
        """Whether the service is ready, and what is degraded."""
        return self._get(Health, "/readyz")

    def _get(self, document: type[D], path: str, **params: Any) -> D:
        given = {name: value for name, value in params.items() if value is not None}
        return self._read(document, self._http.get(path, params=given or None))

    def _send(self, document: type[D], method: str, path: str, body: Mapping[str, Any] | None = None) -> D:
        return self._read(document, self._http.request(method, path, json=body))

    def _content(self, path: str, *media_types: str) -> bytes:
        response = self._checked(self._http.get(path))
        if response.headers.get("Content-Type", "").partition(";")[0].strip() not in media_types:
            raise MagnetError(_foreign(response, FOREIGN), None)
        return response.content

    def _read(self, document: type[D], response: httpx.Response) -> D:
        try:
            return document.model_validate_json(self._checked(response).content)
        except ValidationError as error:
            raise MagnetError(_foreign(response, FOREIGN), None) from error

    def _checked(self, response: httpx.Response) -> httpx.Response:
        if response.is_success:
            return response
        try:
            problem = Problem.model_validate_json(response.content)
        except ValidationError:
            problem = _foreign(response, response.reason_phrase)
        raise MagnetError(problem, _seconds(response.headers.get("Retry-After")))


def _foreign(response: httpx.Response, title: str) -> Problem:
    detail = response.text[:SHOWN_CHARACTERS]
    return Problem(type="about:blank", title=title, status=response.status_code, detail=detail)


def _seconds(retry_after: str | None) -> float | None:
    """None for a date too, which the service never sends but a proxy may."""
    return float(retry_after) if retry_after is not None and retry_after.isdecimal() else None


def _id(text: str) -> str:
    if text in (".", ".."):
        raise ValueError(f"the id is {text!r}, which proxies and browsers drop from addresses (expected another)")
    return quote(text, safe="")


def _wish(
    k: int,
    offset: int,
    category: Sequence[str],
    exclude: Sequence[str],
    exclude_seen: bool,
    diversity: float,
    steer: Mapping[str, float] | None,
    explain: Explain,
) -> dict[str, Any]:
    return {
        "k": k,
        "offset": offset,
        "category": list(category),
        "exclude": list(exclude),
        "exclude_seen": exclude_seen,
        "diversity": diversity,
        "steer": [f"{name}:{factor}" for name, factor in (steer or {}).items()],
        "explain": explain,
    }
