"""Keys open what they should and appear nowhere: not in logs, traces, metrics or bodies of errors."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import SecretStr

from service.access import CONSOLE, CONSOLE_PREFIX, PROBES
from service.logs import JsonFormatter
from service.tracing import OtlpTracing
from tests.support.events import event, sent
from tests.support.redis_server import RedisServer
from tests.support.service_client import free_port, in_process

pytestmark = pytest.mark.anyio
PASSWORD = "password-4714"
ORDINARY, ADMIN, WRONG = "ordinary-key-4711", "admin-key-4712", "wrong-key-4713"
KEYS = {"api_keys": SecretStr(ORDINARY), "admin_key": SecretStr(ADMIN)}


async def test_no_call_of_any_route_is_open(store_root: Path, tmp_path: Path) -> None:
    """Every route and method there is, with no key and with a wrong one; admin calls with an ordinary one, too."""
    async with in_process(store_root, state=tmp_path, **KEYS) as client:
        routes = [route for route in client.app.routes if isinstance(route, APIRoute)]
        assert len(routes) > 20
        for route in routes:
            is_open = route.path in PROBES or route.path == CONSOLE or route.path.startswith(CONSOLE_PREFIX)
            path = route.path_format.replace("{", "").replace("}", "")
            for method in route.methods or ():
                for headers in ({}, {"Authorization": f"Bearer {WRONG}"}, {"X-API-Key": WRONG}):
                    status = (await client.request(method, path, headers=headers)).status_code
                    assert (status in (401, 403)) != is_open, (method, path, status)
                if path.startswith("/admin/"):
                    refused = await client.request(method, path, headers={"X-API-Key": ORDINARY})
                    assert refused.status_code == 403
        for path in ("//admin/rollback", "/admin%2Frollback", "/Admin/rollback", "/console/../admin/rollback"):
            assert (await client.post(path)).status_code in (401, 403, 404, 405)


async def test_the_password_of_redis_appears_nowhere(
    store_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not where it cannot be reached, nor where it refuses the password."""
    server = RedisServer(tmp_path / "redis")
    server.start()
    with server.client() as admin:
        admin.config_set("requirepass", "another")
    seen: list[str] = []
    try:
        for port in (server.port, free_port()):
            with caplog.at_level(logging.DEBUG):
                address = f"redis://somebody:{PASSWORD}@127.0.0.1:{port}/0"
                async with in_process(store_root, state=tmp_path, redis_url=address, rate_limit="9/second") as client:
                    assert client.service.mirror.failure is not None
                    seen += [(await client.get(path)).text for path in ("/recommend/u", "/readyz", "/metrics")]
                    refused = await client.post("/events", json=sent(event("u", "i")))
                    assert refused.status_code == 503
                    seen.append(refused.text)
    finally:
        server.stop()
    seen += [JsonFormatter().format(entry) for entry in caplog.records]
    assert [text for text in seen if PASSWORD in text] == []


async def test_keys_appear_nowhere(store_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spans = InMemorySpanExporter()
    seen: list[str] = []
    with caplog.at_level(logging.DEBUG):
        async with in_process(
            store_root, state=tmp_path, rate_limit="5/minute", otlp_endpoint="http://127.0.0.1:1", **KEYS
        ) as client:
            assert isinstance(client.service.tracing, OtlpTracing)
            client.service.tracing._provider.add_span_processor(SimpleSpanProcessor(spans))
            for key in (ORDINARY, ADMIN, WRONG):
                for headers in ({"Authorization": f"Bearer {key}"}, {"X-API-Key": key}):
                    for method, path in (("GET", "/recommend/u"), ("GET", "/nothing"), ("POST", "/events")):
                        reply = await client.request(method, path, headers=headers, content=b"{")
                        seen.append(reply.text + str(reply.headers))
            seen.append((await client.get("/metrics", headers={"X-API-Key": ADMIN})).text)
            seen.append(str((await client.get("/readyz")).json()))
    seen += [JsonFormatter().format(entry) for entry in caplog.records if not entry.name.startswith("httpx")]
    seen += [span.to_json() for span in spans.get_finished_spans()]
    assert any(span.name for span in spans.get_finished_spans())
    for key in (ORDINARY, ADMIN, WRONG):
        assert [text for text in seen if key in text] == []
