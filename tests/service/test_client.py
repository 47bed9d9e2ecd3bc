"""The typed client calls every documented operation, with the parameters that the document names."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.client import MagnetClient, MagnetError
from service.settings import Settings
from tests.support.events import event
from tests.support.service_client import on_a_port

NOT_FOR_PEOPLE = {("GET", "/livez"), ("GET", "/metrics")}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app(Settings(store=Path("nowhere"))).openapi()


class Recorder(httpx.BaseTransport):
    """Keeps the request and answers 418, so that the call ends there."""

    request: httpx.Request

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.request = request
        problem = {"type": "t", "title": "t", "status": 418, "detail": "d"}
        return httpx.Response(418, json=problem, headers={"Retry-After": "3"})


CALLS: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {
    ("GET", "/recommend/{user_id}"): ("recommend", {"user_id": "a/b", "steer": {"visual": 2}, "at": "x"}),
    ("POST", "/recommend"): ("recommend_many", {"users": ["a"], "exclude": ["i"]}),
    ("POST", "/recommend/session"): ("recommend_session", {"items": ["a"]}),
    ("GET", "/similar/{item_id}"): ("similar", {"item_id": "a/b"}),
    ("GET", "/explain"): ("explain", {"item": "i", "user": "u"}),
    ("GET", "/explain/{user_id}"): ("profile", {"user_id": "a/b"}),
    ("GET", "/experts"): ("experts", {}),
    ("GET", "/items/{item_id}"): ("item", {"item_id": "a/b"}),
    ("GET", "/items"): ("items", {"query": "q"}),
    ("GET", "/users/{user_id}"): ("user", {"user_id": "a/b"}),
    ("GET", "/users"): ("users", {"query": "q"}),
    ("GET", "/media/{media_hash}"): ("media", {"media_hash": "0"}),
    ("POST", "/events"): ("send_events", {"events": [event("u", "i")]}),
    ("PUT", "/items/{item_id}"): ("put_item", {"item_id": "a/b", "image": b"x", "features": {"visual": [1.0]}}),
    ("DELETE", "/items/{item_id}"): ("hide_item", {"item_id": "a/b"}),
    ("DELETE", "/users/{user_id}"): ("forget_user", {"user_id": "a/b"}),
    ("GET", "/snapshot"): ("snapshot", {}),
    ("GET", "/snapshots"): ("snapshots", {}),
    ("GET", "/snapshot/{document}"): ("document", {"name": "report"}),
    ("POST", "/admin/activate"): ("activate", {"snapshot": "s"}),
    ("POST", "/admin/rollback"): ("rollback", {}),
    ("GET", "/readyz"): ("ready", {}),
}  # fmt: skip


def test_every_documented_call_has_a_method(document: dict[str, Any]) -> None:
    documented = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert documented - NOT_FOR_PEOPLE == set(CALLS)
    public = {name for name, _ in inspect.getmembers(MagnetClient, inspect.isfunction) if not name.startswith("_")}
    assert public - {"close", "next_page"} == {name for name, _ in CALLS.values()}


@pytest.mark.parametrize("call", CALLS)
def test_calls_are_as_documented(call: tuple[str, str], document: dict[str, Any]) -> None:
    method, path = call
    name, arguments = CALLS[call]
    recorder = Recorder()
    with MagnetClient("http://x", key="k", transport=recorder) as client, pytest.raises(MagnetError) as caught:
        getattr(client, name)(**arguments)
    assert (caught.value.problem.status, caught.value.retry_after) == (418, 3)
    request = recorder.request
    operation = document["paths"][path][method.lower()]
    assert (request.method, request.headers["x-api-key"]) == (method, "k")
    assert request.url.raw_path.decode().split("?")[0] == path.replace("{user_id}", "a%2Fb").replace(
        "{item_id}", "a%2Fb"
    ).replace("{media_hash}", "0").replace("{document}", "report")
    parameters = {p["name"] for p in operation.get("parameters", []) if p["in"] == "query"}
    options = set(inspect.signature(getattr(MagnetClient, name)).parameters)
    assert set(request.url.params) <= parameters <= options
    if "requestBody" in operation:
        reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        schema = document["components"]["schemas"][reference.rpartition("/")[2]]
        sent = json.loads(request.content)
        assert set(schema.get("required", [])) <= set(sent) <= set(schema["properties"]) <= options | {"events"}


LOGIN = "<html><h1>Who are you?</h1>" + "." * 300


def answering(*given: Any, **options: Any) -> httpx.MockTransport:
    return httpx.MockTransport(lambda request: httpx.Response(*given, **options))


@pytest.mark.parametrize(("header", "seconds"), [("7", 7), (None, None), ("Wed, 21 Oct 2026 07:28:00 GMT", None)])
@pytest.mark.parametrize("body", [LOGIN, '{"detail": "not here"}', ""])
def test_what_a_proxy_answers_is_an_error_of_the_client(header: str | None, seconds: float | None, body: str) -> None:
    proxy = answering(502, text=body, headers={} if header is None else {"Retry-After": header})
    with MagnetClient("http://x", transport=proxy) as client:
        for call in (client.experts, client.rollback, lambda: client.media("0")):
            with pytest.raises(MagnetError) as caught:
                call()
            problem = caught.value.problem
            assert (problem.type, problem.title, problem.status) == ("about:blank", "Bad Gateway", 502)
            assert (problem.detail, caught.value.retry_after) == (body[:200], seconds)


@pytest.mark.parametrize("body", [LOGIN, '{"experts": 3}', ""])
def test_a_good_answer_of_somebody_else_is_an_error_of_the_client(body: str) -> None:
    with MagnetClient("http://x", transport=answering(200, text=body)) as client:
        for call in (client.experts, client.rollback, lambda: client.media("0"), lambda: client.document("history")):
            with pytest.raises(MagnetError) as caught:
                call()
            problem = caught.value.problem
            assert (problem.type, problem.status, problem.detail) == ("about:blank", 200, body[:200])


def test_files_come_in_the_documented_types(document: dict[str, Any]) -> None:
    reads: dict[str, Callable[[MagnetClient], bytes]] = {
        "/media/{media_hash}": lambda client: client.media("0"),
        "/snapshot/{document}": lambda client: client.document("report"),
    }
    for path, read in reads.items():
        for media_type in document["paths"][path]["get"]["responses"]["200"]["content"]:
            headers = {"Content-Type": f"{media_type}; charset=utf-8"}
            with MagnetClient("http://x", transport=answering(200, content=b"it", headers=headers)) as client:
                assert read(client) == b"it"


def test_a_detour_to_a_login_page_is_an_error_of_the_client() -> None:
    proxy = answering(302, headers={"Location": "http://login"})
    with MagnetClient("http://x", transport=proxy) as client, pytest.raises(MagnetError, match="Found"):
        client.experts()


@pytest.mark.parametrize("dots", [".", ".."])
def test_ids_that_drop_out_of_addresses_are_not_asked_for(dots: str) -> None:
    recorder = Recorder()
    in_paths = [
        (name, arguments | {of: dots})
        for name, arguments in CALLS.values()
        for of in ("user_id", "item_id", "media_hash", "name")
        if of in arguments
    ]
    with MagnetClient("http://x", transport=recorder) as client:
        for name, arguments in in_paths:
            with pytest.raises(ValueError, match="drop from addresses"):
                getattr(client, name)(**arguments)
    assert len(in_paths) == 10
    assert not hasattr(recorder, "request")


def test_against_a_real_service(store_root: Path, tmp_path: Path) -> None:
    with on_a_port(store_root, MAGNET_STATE=str(tmp_path)) as address, MagnetClient(address) as client:
        answer = client.recommend("user/001", k=5, steer={"visual": 1.5})
        following = client.next_page(answer)
        assert following is not None
        assert [item.rank for item in following.items] == [6, 7, 8, 9, 10]
        found = client.explain(answer.items[0].item, recommendation_id=answer.recommendation_id)
        assert found.experts == answer.items[0].experts
        assert client.send_events([event("user/001", answer.items[0].item)]).accepted == 1
        assert client.recommend("user/001").events_used == 1
        assert len(client.recommend_many(["user/001", "nobody"]).answers) == 2
        assert client.recommend_session(["item/001"]).strategy == "session"
        assert client.similar("item/001", by="visual", k=3).by == "visual"
        assert client.ready().status == "ready"
        with pytest.raises(MagnetError) as caught:
            client.item("nothing")
        assert caught.value.problem.type == "urn:problem-type:magnet:unknown-item"
