"""What holds for every call: problems, headers, ids, limits, and a document that says what is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from service.app import create_app
from service.envelope import SCOPE_KEY, RequestContext
from service.errors import MEDIA_TYPE, ServiceError
from service.problems import install_problems
from service.routes.recommend import recommend
from service.schemas.examples import EXAMPLES
from service.settings import Settings
from tests.support.service_client import ServiceClient, in_process

pytestmark = pytest.mark.anyio
USER = "/recommend/user%2F001"
LONG = "%C3%BC" * 257
"""An id of 257 characters, and of 514 bytes: two more than an event, or a forgotten user's line, can hold."""


@pytest.mark.parametrize(
    ("method", "path", "status", "slug"),
    [
        ("GET", "/nothing", 404, "unknown-route"),
        ("POST", "/experts", 405, "method-not-allowed"),
        ("PUT", "/recommend/u", 405, "method-not-allowed"),
        ("GET", f"{USER}?k=0", 422, "invalid-request"),
        ("GET", f"{USER}?k=501", 422, "invalid-request"),
        ("GET", f"{USER}?k=2&offset=999", 422, "invalid-request"),
        ("GET", f"{USER}?k=many", 422, "invalid-request"),
        ("GET", f"{USER}?surplus=1", 422, "invalid-request"),
        ("GET", f"{USER}?diversity=nan", 422, "invalid-request"),
        ("GET", f"{USER}?steer=visual", 422, "invalid-request"),
        ("GET", f"{USER}?steer=visual:4.1", 422, "invalid-request"),
        ("GET", f"{USER}?steer=visual:nan", 422, "invalid-request"),
        ("GET", f"{USER}?steer=visual:1&steer=visual:2", 422, "invalid-request"),
        ("GET", f"{USER}?steer=smell:1", 422, "invalid-request"),
        ("GET", f"{USER}?at=yesterday", 422, "invalid-request"),
        ("GET", f"{USER}?at=0123.1.1.1", 410, "expired"),
        ("GET", "/recommend/", 422, "invalid-request"),
        ("GET", f"/recommend/{LONG}", 422, "invalid-request"),
        ("GET", f"/users/{LONG}", 422, "invalid-request"),
        ("DELETE", f"/users/{LONG}", 422, "invalid-request"),
        ("DELETE", f"/items/{LONG}", 422, "invalid-request"),
        ("GET", f"/explain?item=x&user={LONG}", 422, "invalid-request"),
        ("GET", "/explain?item=x", 422, "invalid-request"),
        ("GET", "/explain?item=x&recommendation_id=unheard-of", 410, "expired"),
        ("GET", "/similar/item%2F001?by=smell", 422, "invalid-request"),
        ("POST", "/events", 422, "invalid-request"),
        ("POST", "/admin/rollback", 403, "admin-key-required"),
    ],
)
async def test_errors_are_problems(client: ServiceClient, method: str, path: str, status: int, slug: str) -> None:
    reply = await client.request(method, path)
    problem = reply.json()
    assert (reply.status_code, problem["status"]) == (status, status)
    assert problem["type"] == f"urn:problem-type:magnet:{slug}"
    assert reply.headers["content-type"] == MEDIA_TYPE
    assert reply.headers["x-request-id"] == problem["request_id"]
    assert reply.headers["x-snapshot-id"]
    assert problem["detail"]


@pytest.mark.parametrize(("part", "path"), [("recommend", USER), ("known", "/users/user%2F001")])
async def test_a_crash_is_a_problem_too(
    client: ServiceClient, monkeypatch: pytest.MonkeyPatch, part: str, path: str
) -> None:
    """On the direct way and on FastAPI's."""

    async def crash(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(client.service.recommender, part, crash)
    reply = await client.get(path)
    assert (reply.status_code, reply.json()["type"]) == (500, "urn:problem-type:magnet:internal-error")
    assert reply.headers["x-request-id"] == reply.json()["request_id"]
    assert "secret" not in reply.text


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", USER, f"{USER}?k=0", "/nothing"])
async def test_head_says_what_get_would(client: ServiceClient, path: str) -> None:
    asked, read = await client.request("HEAD", path), await client.get(path)
    assert asked.status_code == read.status_code
    assert asked.headers["content-type"] == read.headers["content-type"]
    assert asked.headers["content-length"] == read.headers["content-length"]


@pytest.mark.parametrize(("given", "kept"), [("abc-1.2_X", True), ("a b", False), ("x" * 65, False), ("a\tb", False)])
async def test_request_ids_are_taken_over_where_harmless(client: ServiceClient, given: str, kept: bool) -> None:
    reply = await client.get("/livez", headers={"X-Request-Id": given})
    assert (reply.headers["x-request-id"] == given) == kept


@pytest.mark.parametrize(
    "user", ["a/b", "/a", "a/", "ü ☃", "%2F", "a?b#c", "new\nline\n", "\r\nX-Evil: 1", "'; DROP TABLE", "\x00"]
)
async def test_any_id_comes_back_as_it_is(client: ServiceClient, user: str) -> None:
    answer = await client.recommend(user, k=1)
    assert (answer["user"], answer["strategy"]) == (user, "popular")
    follow = await client.get(answer["next"])
    assert (follow.status_code, follow.json()["user"]) == (200, user)
    assert "x-evil" not in follow.headers


async def test_many_users_in_one_call(client: ServiceClient) -> None:
    users = ["user/001", "nobody", "user/002"]
    reply = (await client.post("/recommend", json={"users": users, "k": 3, "steer": ["visual:2"]})).json()
    for user, answer in zip(users, reply["answers"], strict=True):
        alone = await client.recommend(user, k=3, steer="visual:2")
        assert answer["items"] == alone["items"]
        assert (await client.get(answer["next"])).json()["items"][0]["rank"] == 4


async def test_a_session_equals_a_user_with_that_history(client: ServiceClient) -> None:
    history = [item["item"] for item in (await client.json("/users/user%2F001"))["history"]][::-1]
    session = (await client.post("/recommend/session", json={"items": [*history, "unheard-of"], "k": 30})).json()
    user = await client.recommend("user/001", k=30)
    assert (session["user"], session["strategy"]) == (None, "session")
    assert [item["item"] for item in session["items"]] == [item["item"] for item in user["items"]]
    empty = (await client.post("/recommend/session", json={"items": []})).json()
    assert (empty["strategy"], len(empty["items"])) == ("popular", 20)


async def test_similar_items_by_each_modality(client: ServiceClient) -> None:
    for by in ("overall", "behaviour", "visual", "textual"):
        found = await client.json("/similar/item%2F001", by=by, k=5)
        likeness = [item["similarity"] for item in found["items"]]
        assert likeness == sorted(likeness, reverse=True)
        assert "item/001" not in [item["item"] for item in found["items"]]
        assert found["complete"] == (len(likeness) == 5)


async def test_lean_route_equals_fastapis_own(client: ServiceClient) -> None:
    """The same endpoint under FastAPI's machinery: the same bodies, but for the id, and the same statuses."""
    slow = FastAPI()
    slow.state.service = client.service
    slow.add_api_route("/recommend/{user_id:id}", recommend, methods=["GET"])
    install_problems(slow)

    async def with_context(scope: Any, receive: Any, send: Any) -> None:
        scope[SCOPE_KEY] = RequestContext("id", client.service.deployment.active)
        await slow(scope, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(with_context), base_url="http://slow") as other:
        for query in (
            "",
            "k=3&offset=2&category=red&category=blue&exclude=item%2F001&exclude_seen=false&diversity=0.3",
            "steer=visual%3A2&steer=item-item:0.5&explain=full&k=2",
            "k=0",
            "k=1&k=2",
            "surplus=1",
            "exclude_seen=maybe",
            "category=",
            "explain=all",
        ):
            lean, plain = [await c.get(f"{USER}?{query}") for c in (client, other)]
            assert lean.status_code == plain.status_code, query
            for field in ("items", "type", "errors"):
                assert lean.json().get(field) == plain.json().get(field), query


async def test_limits_on_bodies_and_rates(store_root: Path, tmp_path: Path) -> None:
    options = {"max_body_mb": 0.001, "rate_limit": "5/minute", "state": tmp_path}
    async with in_process(store_root, **options) as client:
        large = await client.post("/events", content=b"x" * 2000, headers={"Content-Type": "application/json"})
        assert (large.status_code, large.json()["type"]) == (413, "urn:problem-type:magnet:body-too-large")
        statuses = [(await client.get("/experts")).status_code for _ in range(6)]
        assert statuses == [200] * 4 + [429] * 2
        refused = await client.get("/experts")
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert refused.json()["type"] == "urn:problem-type:magnet:too-many-requests"
        named = await client.get("/experts", headers={"X-API-Key": "a name that is no key"})
        assert named.status_code == 429
        assert (await client.get("/livez")).status_code == 200


def test_the_document_describes_every_call() -> None:
    document = create_app(Settings(store=Path("nowhere"))).openapi()
    calls = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert calls >= {
        ("GET", "/recommend/{user_id}"),
        ("POST", "/recommend"),
        ("POST", "/recommend/session"),
        ("GET", "/similar/{item_id}"),
        ("GET", "/explain"),
        ("GET", "/explain/{user_id}"),
        ("GET", "/experts"),
        ("GET", "/items/{item_id}"),
        ("PUT", "/items/{item_id}"),
        ("DELETE", "/items/{item_id}"),
        ("GET", "/items"),
        ("GET", "/users/{user_id}"),
        ("DELETE", "/users/{user_id}"),
        ("GET", "/users"),
        ("GET", "/media/{media_hash}"),
        ("POST", "/events"),
        ("GET", "/snapshot"),
        ("POST", "/admin/activate"),
        ("POST", "/admin/rollback"),
        ("GET", "/livez"),
        ("GET", "/readyz"),
        ("GET", "/metrics"),
    }
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            where = f"{method} {path}"
            assert operation.get("summary"), where
            assert operation.get("description"), where
            for parameter in operation.get("parameters", []):
                described = parameter.get("description") or parameter["schema"].get("description")
                assert described, f"{where}: {parameter['name']}"
            assert "HTTPValidationError" not in str(operation), where
    for name, schema in document["components"]["schemas"].items():
        for field, content in schema.get("properties", {}).items():
            assert content.get("description"), f"{name}.{field}"


def test_every_call_shows_an_example_that_its_schema_allows() -> None:
    app = create_app(Settings(store=Path("nowhere")))
    document = app.openapi()
    routes = {
        (method, route.path_format): route
        for route in app.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
    files = {("GET", "/media/{media_hash}"), ("GET", "/snapshot/{document}")}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            where = (method.upper(), path)
            if where in files:
                continue
            (content,) = operation["responses"]["200"]["content"].values()
            shown, model = content["example"], routes[where].response_model
            if model is not None:
                written = model.model_validate(shown).model_dump(mode="json", exclude_unset=True)
                assert written == shown, f"{where}: the example has fields that the answer does not"
            body = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if body is not None:
                sent = routes[where].body_field
                assert sent is not None
                assert sent.validate(body["example"], loc=("body",))[1] in (None, []), where
    assert set(EXAMPLES) | files == {
        (method.upper(), path) for path, operations in document["paths"].items() for method in operations
    }


def test_every_error_has_its_own_type() -> None:
    errors = list(ServiceError.__subclasses__())
    assert len({error.slug for error in errors}) == len(errors)
    assert all(400 <= error.status < 600 and error.title for error in errors)
