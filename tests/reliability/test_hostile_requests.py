"""Requests that are meant to harm: huge, nested, not numbers, with ids that would be paths, headers or orders."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import time
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from PIL import Image

from service.content import ItemContent
from service.logs import JsonFormatter
from tests.reliability.conftest import TwoSnapshots
from tests.reliability.test_hostile_files import png_of
from tests.support.events import event, sent
from tests.support.service_client import ServiceClient, in_process, on_a_port

pytestmark = pytest.mark.anyio
AS_JSON = {"Content-Type": "application/json"}
ORDERS = "\r\nX-Evil: yes\r\n\r\n<script>\x1b]0;pwned\x07\x1b[2J\x9b31m\u2028\u202e\x00'; DROP TABLE events; --"
"""Line ends, a header, markup, what terminals obey, what databases would."""


@pytest.mark.parametrize(
    "body",
    [
        b'{"users":["a"],"k":NaN}',
        b'{"users":["a"],"diversity":Infinity}',
        b'{"users":["a"],"diversity":-Infinity}',
        b'{"users":["a"],"k":' + b"9" * 5000 + b"}",
        b'{"users":["a"],"k":1e400}',
        b'{"users":["a"],"offset":-1e308}',
        b'{"users":["\\ud800"]}',
        b'{"users":["\xff\xfe"]}',
        b'{"\\ud800":1}',
        b"[" * 200_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"users":' + b'{"a":' * 50_000,
        b"",
        b"null",
        b'"' + b"\\u0000" * 100_000 + b'"',
        b'{"users":[' + b",".join([b'"u"'] * 101) + b"]}",
    ],
)
async def test_bodies_are_refused_in_words(client: ServiceClient, body: bytes) -> None:
    reply = await client.post("/recommend", content=body, headers=AS_JSON)
    assert (reply.status_code, reply.json()["type"]) == (422, "urn:problem-type:magnet:invalid-request")
    assert len(reply.content) < 20_000
    assert "Traceback" not in reply.text


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e400", "1e39", '"x"', "null"])
async def test_features_are_finite_numbers(client: ServiceClient, number: str) -> None:
    content = f'{{"features": {{"visual": [{number}, 1, 1, 1, 1, 1]}}}}'
    assert (await client.put("/items/new", content=content, headers=AS_JSON)).status_code == 422


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e400"])
async def test_events_hold_finite_numbers(client: ServiceClient, number: str) -> None:
    body = json.dumps(sent(event("u", "i", "rating", value=4.5)))
    for field in ("value", "timestamp"):
        found = json.loads(body)["events"][0][field]
        broken = body.replace(f'"{field}": {found}', f'"{field}": {number}')
        assert broken != body
        assert (await client.post("/events", content=broken, headers=AS_JSON)).status_code == 422


async def test_ids_are_only_ids(client: ServiceClient, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever an id holds, it comes back as it was, in the body alone."""
    item = (await client.json("/items", limit=1))["items"][0]["item"]
    with caplog.at_level(logging.DEBUG):
        assert (await client.post("/events", json=sent(event(ORDERS, item)))).json()["accepted"] == 1
        for path in ("/recommend/{}", "/users/{}", "/explain/{}"):
            reply = await client.get(path.format(quote(ORDERS, safe="")))
            assert (reply.status_code, reply.json()["user"]) == (200, ORDERS)
            assert "x-evil" not in reply.headers
            assert not any("evil" in value.lower() for value in reply.headers.values())
        missing = await client.get(f"/items/{quote(ORDERS, safe='')}", headers={"X-Request-Id": "a\x1b[2Jb"})
        assert missing.status_code == 404
        assert "\x1b" not in missing.headers["x-request-id"]
        assert b"\x1b" not in missing.content
        logging.getLogger("magnet.test").warning("user %s", ORDERS)
    for line in map(JsonFormatter().format, caplog.records):
        assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 or letter == "\u2028" for letter in line)
        assert json.loads(line)["message"]


@pytest.mark.parametrize(
    "path", ["../../etc/passwd", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "/etc/passwd", "x\x00y", "C:\\boot.ini"]
)
async def test_names_lead_nowhere(client: ServiceClient, store_root: Path, path: str) -> None:
    secret = store_root.parent / "secret"
    secret.write_text("never seen")
    for route in ("/media/", "/console/", "/items/", "/users/", "/similar/"):
        for name in (quote(path), quote(path, safe=""), quote(quote(path, safe=""), safe="")):
            reply = await client.get(route + name)
            assert reply.status_code in (404, 422), (route, name, reply.status_code)
            assert "never seen" not in reply.text
            assert "root:" not in reply.text


@pytest.mark.parametrize("snapshot", ["../x", "0" * 31 + "/", ".", "CURRENT", "0" * 32 + "\n", "é" * 32, "a" * 5000])
async def test_snapshots_are_named_by_their_id(store_root: Path, tmp_path: Path, snapshot: str) -> None:
    async with in_process(store_root, state=tmp_path, admin_key="admin") as client:
        before = (await client.json("/snapshot"))["snapshot"]
        reply = await client.post("/admin/activate", json={"snapshot": snapshot}, headers={"X-API-Key": "admin"})
        assert reply.status_code in (404, 422)
        assert (await client.json("/snapshot"))["snapshot"] == before


async def test_an_answers_id_of_the_future_is_not_waited_for(store_root: Path, tmp_path: Path) -> None:
    """Ids begin with their time of birth, and callers may make them up."""
    async with in_process(store_root, state=tmp_path, workers=2) as client:
        began = time.monotonic()
        await client.json("/explain", 410, recommendation_id="f" * 32, item="item/001")
        assert time.monotonic() - began < 3


async def test_pictures_cannot_flood(client: ServiceClient) -> None:
    bomb = base64.b64encode(png_of(40_000, 40_000)).decode()
    reply = await client.put("/items/bomb", json={"image": bomb})
    assert (reply.status_code, "pixels" in reply.json()["detail"]) == (422, True)
    whole = io.BytesIO()
    Image.new("RGB", (64, 64)).save(whole, "PNG")
    torn = base64.b64encode(whole.getvalue()[:-30]).decode()
    assert (await client.put("/items/torn", json={"image": torn})).status_code == 422
    assert (await client.put("/items/words", json={"image": "not base64"})).status_code == 422


async def test_on_the_wire(store: TwoSnapshots) -> None:
    """What httpx would not send: split headers, methods and targets made of rubbish, lengths that lie."""
    with on_a_port(store.root) as address:
        place = httpx.URL(address)
        for raw in (
            b"GET /recommend/a\r\nX: y HTTP/1.1\r\n\r\n",
            b"GET /recommend/%0d%0aX-Evil:%20yes HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\nConnection: close\r\n\r\n",
            b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\nConnection: close\r\n\r\n{}",
            b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"G\x00T / HTTP/1.1\r\n\r\n",
            b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        ):
            reader, writer = await asyncio.open_connection(place.host, place.port)
            writer.write(raw)
            writer.write_eof()
            reply = await asyncio.wait_for(reader.read(), 20)
            writer.close()
            head = reply.partition(b"\r\n\r\n")[0].lower()
            assert b"\r\nx-evil" not in head
            assert b" 500 " not in head.split(b"\r\n")[0], raw[:80]
        assert httpx.get(f"{address}/readyz").json()["status"] == "ready"


async def test_pictures_are_decoded_one_at_a_time(client: ServiceClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each may take hundreds of megabytes for a moment, so the moments must not coincide."""
    under_way: list[int] = []
    most = 0

    def slowly(*_: object) -> ItemContent:
        nonlocal most
        under_way.append(1)
        most = max(most, len(under_way))
        time.sleep(0.03)
        under_way.pop()
        return ItemContent(None, (), None, None, {})

    monkeypatch.setattr("service.routes.items._content", slowly)
    picture = base64.b64encode(png_of(8, 8)).decode()
    replies = await asyncio.gather(
        *(client.put(f"/items/new-{number}", json={"image": picture}) for number in range(5))
    )
    assert {reply.status_code for reply in replies} == {200}
    assert most == 1
