"""Traces reach a collector that a request's spans can be read from; without one, nothing is even imported."""

from __future__ import annotations

import gzip
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from service import cli, tracing
from tests.support.service_client import in_process

pytestmark = pytest.mark.anyio
TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"


class Collector(ThreadingHTTPServer):
    """Keeps the spans that are sent to it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Reception)
        self.spans: list[Span] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Reception(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Collector)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Content-Encoding"] == "gzip":
            body = gzip.decompress(body)
        sent = ExportTraceServiceRequest.FromString(body)
        if self.path == "/v1/traces":
            self.server.spans += [
                span for part in sent.resource_spans for scope in part.scope_spans for span in scope.spans
            ]
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


async def test_a_request_its_candidates_and_its_scoring_are_one_trace(
    store_root: Path, tmp_path: Path, collector: Collector
) -> None:
    async with in_process(store_root, state=tmp_path / "state", otlp_endpoint=collector.address) as client:
        for user in ("user%2F001", "user%2F002"):  # the first in a thread, the second likely on the event loop
            headers = {"traceparent": f"00-{TRACE}-{CALLER}-01", "X-Request-Id": f"asked-for-{user[-3:]}"}
            assert (await client.get(f"/recommend/{user}", headers=headers)).status_code == 200
        await client.get("/nothing", headers={"X-Api-Key": "secret-key"})
        assert (await client.request("HEAD", "/livez")).status_code == 200
        snapshot = client.service.deployment.active
    assert snapshot is not None
    requests = [span for span in collector.spans if span.kind == Span.SPAN_KIND_SERVER]
    assert [span.name for span in requests] == ["GET /recommend/{user_id}"] * 2 + ["GET unknown", "HEAD /livez"]
    for request, number in zip(requests[:2], ("001", "002"), strict=True):
        assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE, CALLER)
        inside = [span for span in collector.spans if span.parent_span_id == request.span_id]
        assert [span.name for span in inside] == ["candidates", "scoring"]
        assert {span.trace_id for span in inside} == {request.trace_id}
        for span in inside:
            assert request.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
            assert span.end_time_unix_nano <= request.end_time_unix_nano
        noted = {entry.key: entry.value for entry in request.attributes}
        assert noted["http.response.status_code"].int_value == 200
        assert noted["magnet.request_id"].string_value == f"asked-for-{number}"
        assert noted["magnet.snapshot"].string_value == snapshot.id
    assert requests[2].trace_id.hex() != TRACE
    assert "secret-key" not in str(collector.spans)
    assert "user/001" not in str(collector.spans)


def test_without_an_endpoint_nothing_that_sends_spans_is_imported() -> None:
    unwanted = ("opentelemetry.sdk.trace", "opentelemetry.exporter")
    check = (
        "import sys; from service.app import create_app; from service.settings import Settings; create_app(Settings());"
        f"print([name for name in sys.modules if name.startswith({unwanted})])"
    )
    shown = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_an_endpoint_without_the_extra_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "NEEDED", ("a_module_that_nobody_has.sdk",))
    monkeypatch.setenv("MAGNET_OTLP_ENDPOINT", "http://localhost:4318")
    refused = CliRunner().invoke(cli.main, [])
    assert refused.exit_code == 1
    assert "magnet-rec[tracing]" in refused.output
    assert "http://localhost:4318" in refused.output
