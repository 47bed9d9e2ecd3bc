"""What the service counts and times, for Prometheus; right with several workers, for they count into shared files.

`prometheus_client` decides at import whether it does: `magnet-serve` sets its directory before it starts workers.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SHARED_FILES = "PROMETHEUS_MULTIPROC_DIR"
SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
CANDIDATES = (50, 100, 200, 300, 500, 1000, 2000, 5000, 10_000, 100_000)
CACHES = ("answers", "users", "scores", "ahead")
PARTS = ("snapshot", "state")
LOADED = "magnet_snapshot_loaded_timestamp_seconds"
CREATED = "magnet_snapshot_created_timestamp_seconds"
GONE = 0.0


@contextmanager
def shared_among_workers() -> Iterator[None]:
    """Let workers that are started from here count into files of one directory, which is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="magnet-metrics-", ignore_cleanup_errors=True) as folder:
        os.environ[SHARED_FILES] = folder
        yield


class Metrics:
    """The metrics of one worker."""

    def __init__(self) -> None:
        self._shared = os.environ.get(SHARED_FILES)
        self._registry = CollectorRegistry()
        on = self._registry
        self._requests = Histogram(
            "magnet_request_seconds", "Requests by route, method and status, failed ones too.",
            ["route", "method", "status"], buckets=SECONDS, registry=on,
        )  # fmt: skip
        self._served: str | None = None
        self._request_kinds: dict[tuple[str, str, int], Histogram] = {}
        self._answers = Counter("magnet_answers", "Answers by strategy.", ["strategy"], registry=on)
        self._strategies: dict[str, Counter] = {}
        self._incomplete = Counter(
            "magnet_answers_incomplete", "Answers with fewer items than were asked for.", registry=on
        )
        self._degraded_answers = Counter(
            "magnet_answers_degraded", "Answers that had to do without something.", registry=on
        )
        self._candidates = Histogram(
            "magnet_candidates", "Items scored for an answer.", buckets=CANDIDATES, registry=on
        )
        self._cache = Counter("magnet_cache", "Look-ups in caches.", ["cache", "outcome"], registry=on)
        self._cache_outcomes = {
            (name, hit): self._cache.labels(name, "hit" if hit else "miss") for name in CACHES for hit in (True, False)
        }
        self._events = Counter("magnet_events", "Events by what came of them.", ["outcome"], registry=on)
        self._swaps = Counter("magnet_snapshot_swaps", "Attempts to serve another snapshot.", ["outcome"], registry=on)
        self._loaded = Gauge(
            LOADED, "Since when the snapshot is served.", ["snapshot"], multiprocess_mode="livemax", registry=on
        )  # fmt: skip
        self._created = Gauge(
            CREATED, "When the snapshot was exported.", ["snapshot"], multiprocess_mode="livemax", registry=on
        )  # fmt: skip
        self._ahead = Gauge(
            "magnet_ahead_users", "Known users whose ranking was made ahead of their question, per worker.",
            multiprocess_mode="livemin", registry=on,
        )  # fmt: skip
        self._degraded = Gauge(
            "magnet_degraded", "1 where a part does not work as it should.", ["part"],
            multiprocess_mode="livemax", registry=on,
        )  # fmt: skip

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """One request is over."""
        kind = (route, method, status)
        found = self._request_kinds.get(kind)
        if found is None:  # looking a label up takes longer than counting
            found = self._request_kinds[kind] = self._requests.labels(route, method, str(status))
        found.observe(seconds)

    def answer(self, strategy: str, *, complete: bool, degraded: bool) -> None:
        """One answer was given, made for it or before."""
        found = self._strategies.get(strategy)
        if found is None:
            found = self._strategies[strategy] = self._answers.labels(strategy)
        found.inc()
        if not complete:
            self._incomplete.inc()
        if degraded:
            self._degraded_answers.inc()

    def scored(self, candidates: int) -> None:
        """So many items were scored to make an answer."""
        self._candidates.observe(candidates)

    def cache(self, name: str, *, hit: bool) -> None:
        """A cache was asked."""
        self._cache_outcomes[name, hit].inc()

    def ahead(self, users: int) -> None:
        """So many users' rankings are made."""
        self._ahead.set(users)

    def events(self, accepted: int, duplicates: int) -> None:
        """Events were kept."""
        self._events.labels("accepted").inc(accepted)
        self._events.labels("duplicate").inc(duplicates)

    def swapped(self, snapshot_id: str, created: float, loaded: float) -> None:
        """Another snapshot is served."""
        self._swaps.labels("served").inc()
        for gauge, value in ((self._loaded, loaded), (self._created, created)):
            if self._served is not None:
                gauge.labels(self._served).set(GONE)
            gauge.labels(snapshot_id).set(value)
        self._served = snapshot_id

    def refused(self) -> None:
        """A snapshot was refused."""
        self._swaps.labels("refused").inc()

    def degraded(self, parts: Iterable[str]) -> None:
        """These of `PARTS` do not work as they should, the others do."""
        amiss = set(parts)
        for part in PARTS:
            self._degraded.labels(part).set(part in amiss)

    def text(self) -> bytes:
        """Everything, of all workers, in Prometheus's format."""
        if self._shared is None:
            return generate_latest(_Current(self._registry))
        _forget_the_dead(Path(self._shared))
        # prometheus_client leaves its multi-process part without types, here and below
        return generate_latest(_Current(MultiProcessCollector(None, path=self._shared)))  # type: ignore[no-untyped-call]


class _Current(CollectorRegistry):
    """What a collector has, without snapshots that are not served any more: labels cannot be taken out of shared files.

    A snapshot is there as long as one worker serves it.
    """

    def __init__(self, collector: Collector) -> None:
        super().__init__()
        self._collector = collector

    def collect(self) -> Iterator[Metric]:
        """See `CollectorRegistry.collect`."""
        for metric in self._collector.collect():
            if metric.name in (LOADED, CREATED):
                metric.samples = [sample for sample in metric.samples if sample.value != GONE]
            yield metric


def _forget_the_dead(folder: Path) -> None:
    """What is so only while a worker lives ends with it, however it ended; what it counted stays."""
    for file in folder.glob("gauge_live*_*.db"):
        process = int(file.stem.rpartition("_")[2])
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            mark_process_dead(process, str(folder))  # type: ignore[no-untyped-call]
        except PermissionError:
            pass  # it lives, as somebody else
