"""Servers under measurement, each a process of its own with one worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support.service_client import free_port

START_SECONDS = 120
QUIET = {"OMP_NUM_THREADS": "1", "MAGNET_LOG_LEVEL": "error"}


@dataclass(frozen=True)
class Server:
    """A running server; `ready_seconds` from the start of its process to the first good answer."""

    address: str
    pid: int
    ready_seconds: float

    def processor_seconds(self) -> float:
        """What the process has worked so far: it says more than the clock where others work on the machine, too."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def read_faults(self) -> int:
        """How often the process waited so far for a page to be read from disk."""
        return int(Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[9])

    def memory(self) -> dict[str, float]:
        """MiB that are this process's alone, and what it shares with others (mapped files), each page once."""
        text = Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        sizes = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in text.splitlines()[1:] if "kB" in line}
        own = sizes["Private_Clean"] + sizes["Private_Dirty"]
        mapped = sizes["Pss"] - sizes["Pss_Anon"]
        return {"resident": sizes["Rss"], "anonymous": sizes["Anonymous"], "mapped": mapped, "own": own}

    def gauge(self, name: str) -> float | None:
        """A metric without labels."""
        for line in httpx.get(f"{self.address}/metrics", timeout=10).text.splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[1])
        return None

    def wait_for_ahead(self, users: int) -> float:
        """Wait until the rankings of `users` users are made; seconds that it took from here."""
        began = time.perf_counter()
        while (self.gauge("magnet_ahead_users") or 0) < users:
            time.sleep(0.5)
        return time.perf_counter() - began


@contextmanager
def service(
    store: Path, state: Path, *, app: str = "service.app:create_app", loop: str = "auto", **settings: str
) -> Iterator[Server]:
    """The service over `store`; `settings` by their names in the environment, without the prefix."""
    environment = QUIET | {"MAGNET_STORE": str(store), "MAGNET_STATE": str(state)}
    environment |= {f"MAGNET_{name.upper()}": value for name, value in settings.items()}
    with _uvicorn(["--factory", app, "--loop", loop], environment, "/readyz") as server:
        yield server


@contextmanager
def bare(body: Path) -> Iterator[Server]:
    """The bare application that answers with the bytes of `body`."""
    with _uvicorn(["tests.benchmarks.bare:app"], {"BENCHMARK_BODY": str(body)}, "/") as server:
        yield server


@contextmanager
def _uvicorn(arguments: list[str], environment: dict[str, str], path: str) -> Iterator[Server]:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "uvicorn", *arguments, "--port", str(port)]
    command += ["--log-level", "error", "--no-access-log", "--no-server-header"]
    began = time.perf_counter()
    with subprocess.Popen(command, env=os.environ | environment) as process:
        try:
            _wait(f"{address}{path}", process)
            yield Server(address, process.pid, time.perf_counter() - began)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(url, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.02)
    raise AssertionError(f"{url} gave no answer within {START_SECONDS} s")
