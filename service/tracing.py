"""Spans of what a request does, sent to an OpenTelemetry collector where one is configured; nothing otherwise.

OpenTelemetry, the extra `tracing`, is imported here only then. (FastAPI and redis-py look for its interfaces on their
own; nothing that makes or sends spans comes with those.)
"""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from model_store.version import VERSION
from service.settings import Settings

NEEDED = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
EXPORT_TIMEOUT_SECONDS = 5.0
_NOTHING: AbstractContextManager[None] = nullcontext()

Headers = dict[str, str]
Attributes = dict[str, str | int | float]


class Tracing(ABC):
    """What can be timed of a request."""

    @abstractmethod
    def span(self, name: str) -> AbstractContextManager[object]:
        """Times what is done inside, as a part of the request that this context belongs to."""

    @abstractmethod
    def start(self) -> None:
        """Begin to send spans."""

    @abstractmethod
    def close(self) -> None:
        """Send what is left; waits for the collector, so never on the event loop."""


class Untraced(Tracing):
    """No collector is configured."""

    def span(self, name: str) -> AbstractContextManager[object]:
        """Costs nothing and does nothing."""
        return _NOTHING

    def start(self) -> None:
        """Nothing to send."""

    def close(self) -> None:
        """Nothing is left."""


class OtlpTracing(Tracing):
    """Spans over OTLP/HTTP (protobuf), in batches, from a thread of its own."""

    def __init__(self, endpoint: str) -> None:
        """`endpoint`: the collector's address, without the signal's path. Sends nothing before `start`."""
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider

        self._url = f"{endpoint.rstrip('/')}/v1/traces"
        resource = Resource.create({"service.name": "magnet-serve", "service.version": VERSION})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._tracer = self._provider.get_tracer("magnet", VERSION)

    def span(self, name: str) -> AbstractContextManager[object]:
        """See `Tracing`."""
        return self._tracer.start_as_current_span(name)

    def request(self, method: str, headers: Headers) -> AbstractContextManager[Any]:
        """The span of a whole request; where its headers carry a trace (W3C `traceparent`), a part of that."""
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        caller = TraceContextTextMapPropagator().extract(headers)
        return self._tracer.start_as_current_span(method, context=caller, kind=SpanKind.SERVER)

    def start(self) -> None:
        """See `Tracing`."""
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        exporter = OTLPSpanExporter(endpoint=self._url, timeout=EXPORT_TIMEOUT_SECONDS)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))

    def close(self) -> None:
        """See `Tracing`."""
        self._provider.shutdown()


def tracing_for(settings: Settings) -> Tracing:
    """What the settings ask for. Raises `ValueError` where the extra is missing that it takes."""
    check_tracing(settings)
    return Untraced() if settings.otlp_endpoint is None else OtlpTracing(str(settings.otlp_endpoint))


def check_tracing(settings: Settings) -> None:
    """Raises `ValueError` where spans are wanted and OpenTelemetry is not installed."""
    if settings.otlp_endpoint is not None and not all(map(_installed, NEEDED)):
        raise ValueError(
            f"otlp_endpoint is {str(settings.otlp_endpoint)!r}: traces need OpenTelemetry, which is not installed; "
            "expected magnet-rec[tracing] beside [serve]"
        )


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
