"""What is wrong with a request is said in few words, however much is wrong with it and however much was sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from service.errors import MEDIA_TYPE
from service.problems import SHOWN_CHARACTERS, SHOWN_ERRORS, invalid_request
from service.schemas.bodies import NAMED_UNKNOWN, Activation, Events, ManyUsers, PutItem, Session
from tests.support.events import event, sent
from tests.support.service_client import ServiceClient

pytestmark = pytest.mark.anyio
MANY = 5000
UNKNOWN = {f"unknown-{number}": 1 for number in range(MANY)}
EVENT = sent(event("u", "i"))["events"][0]
LARGE = ["x"] * 1_000_000
FLOODS: list[tuple[str, str, type[BaseModel], dict[str, Any]]] = [
    ("POST", "/events", Events, {"events": [""] * MANY}),
    ("POST", "/events", Events, {"events": [{}] * 1000}),
    ("POST", "/events", Events, {"events": [EVENT], **UNKNOWN}),
    ("POST", "/events", Events, {"events": [EVENT | UNKNOWN]}),
    ("POST", "/events", Events, {"events": [EVENT | {"a": 1, "b": 2}] * 1000}),
    ("POST", "/recommend", ManyUsers, {"users": [""] * MANY}),
    ("POST", "/recommend", ManyUsers, {"users": ["u"], "category": [1] * MANY}),
    ("POST", "/recommend", ManyUsers, {"users": ["u"], "exclude": [1] * MANY}),
    ("POST", "/recommend", ManyUsers, {"users": ["u"], "steer": ["x"] * MANY}),
    ("POST", "/recommend", ManyUsers, {"users": ["u"], **UNKNOWN}),
    ("POST", "/recommend/session", Session, {"items": [""] * MANY}),
    ("POST", "/recommend/session", Session, {"items": [], **UNKNOWN}),
    ("PUT", "/items/x", PutItem, {"features": {"visual": [""] * MANY}}),
    ("PUT", "/items/x", PutItem, {"features": {"visual": [1.0] * 100_000}}),
    ("PUT", "/items/x", PutItem, {"features": {f"modality-{number}": [""] for number in range(MANY)}}),
    ("PUT", "/items/x", PutItem, {"categories": [""] * MANY}),
    ("PUT", "/items/x", PutItem, UNKNOWN),
    ("POST", "/admin/activate", Activation, {"snapshot": "x", **UNKNOWN}),
]


@pytest.mark.parametrize(("method", "path", "model", "body"), FLOODS)
async def test_no_body_is_refused_at_length(
    client: ServiceClient, method: str, path: str, model: type[BaseModel], body: dict[str, Any]
) -> None:
    """Neither in what is answered nor in what is noted before: each finding takes time and memory."""
    with pytest.raises(ValidationError) as refused:
        model.model_validate(body)
    assert refused.value.error_count() <= len(model.model_fields) + 2 * NAMED_UNKNOWN
    reply = await client.request(method, path, json=body)
    if path.startswith("/admin/"):  # refused for want of the key
        return
    assert (reply.status_code, reply.headers["content-type"]) == (422, MEDIA_TYPE)
    assert len(reply.json()["errors"]) <= SHOWN_ERRORS
    assert len(reply.content) < 10_000


async def test_a_few_unknown_fields_are_named_each(client: ServiceClient) -> None:
    unknown = {f"unknown-{number}": 1 for number in range(NAMED_UNKNOWN)}
    reply = await client.post("/events", json={"events": [EVENT], **unknown})
    assert [entry["field"] for entry in reply.json()["errors"]] == [f"body.{name}" for name in unknown]


async def test_long_queries_are_refused_in_few_words(client: ServiceClient) -> None:
    query = "&".join(f"unknown-{number}" for number in range(1000))
    for path in ("/recommend/u", "/similar/item%2F001"):
        problem = (await client.get(f"{path}?{query}")).json()
        assert len(problem["errors"]) == SHOWN_ERRORS
        assert problem["detail"].endswith(f"; and {1000 - SHOWN_ERRORS} more")


async def test_what_was_sent_is_not_written_out(client: ServiceClient) -> None:
    """Whatever misses five fields was once written out five times in full."""
    problem = (await client.post("/events", json={"events": [{"surplus": LARGE}]})).json()
    assert {len(entry["found"]) for entry in problem["errors"]} == {SHOWN_CHARACTERS}
    long = "x" * 100_000
    problem = (await client.post("/events", json={"events": [EVENT], long: long})).json()
    assert len(json.dumps(problem)) < 1000


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda parts: st.lists(parts) | st.dictionaries(st.text(), parts),
    )
)
def test_what_was_found_is_shown_as_python_writes_it(value: object) -> None:
    (shown,) = invalid_request([{"loc": (), "msg": "", "input": value}]).members["errors"]
    assert (shown["field"], shown["found"]) == ("request", repr(value)[:SHOWN_CHARACTERS])
