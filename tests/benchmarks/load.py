"""Load: wrk for what a server can do, and calls at a fixed pace for how long a call takes meanwhile."""

from __future__ import annotations

import asyncio
import gc
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

EVERY_USER = """
local row = %d
request = function()
  row = (row + 1) %% %d
  return wrk.format("GET", string.format("/recommend/A%%013d", row))
end
"""
UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True)
class Load:
    """What wrk measured: how many requests, how many per second, milliseconds that half and 99 % took at most."""

    count: int
    rate: float
    p50: float
    p99: float


def wrk(
    url: str, connections: int, seconds: int = 2, *, users: tuple[int, int] | None = None, key: str | None = None
) -> Load:
    """Ask as fast as answers come; `users`: another one every time, after this row, round and round so many."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--latency"]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        if users is not None:
            script.write(EVERY_USER % users)
            script.flush()
            command += ["-s", script.name]
        if key is not None:
            command += ["-H", f"Authorization: Bearer {key}"]
        found = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in found:
        raise AssertionError(f"answers other than 200: {found}")
    (rate,) = re.findall(r"Requests/sec:\s+([\d.]+)", found)
    (count,) = re.findall(r"(\d+) requests in", found)
    p50, p99 = (_milliseconds(found, share) for share in ("50%", "99%"))
    return Load(int(count), float(rate), p50, p99)


def has_wrk() -> bool:
    """Whether wrk is installed."""
    return shutil.which("wrk") is not None


def _milliseconds(text: str, share: str) -> float:
    (number, unit) = re.findall(rf"{share}\s+([\d.]+)(us|ms|s)", text)[-1]
    return float(number) * UNITS[unit]


def paced(
    address: str, path_of: Callable[[int], str], rate: float, seconds: float, connections: int = 16
) -> list[float]:
    """Milliseconds per call, `rate` calls a second whatever comes back: a call that has to wait for a free connection
    counts from when it was due. Sorted. The garbage collector of this process stops meanwhile, for it would stop the
    clock of every call that is under way."""
    gc.collect()
    gc.disable()
    try:
        return asyncio.run(_paced(address, path_of, rate, seconds, connections))
    finally:
        gc.enable()


async def _paced(
    address: str, path_of: Callable[[int], str], rate: float, seconds: float, connections: int
) -> list[float]:
    parts = urlsplit(address)
    assert parts.hostname is not None
    due: asyncio.Queue[tuple[float, int]] = asyncio.Queue()
    taken: list[float] = []

    async def caller() -> None:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        while True:
            when, number = await due.get()
            writer.write(f"GET {path_of(number)} HTTP/1.1\r\nHost: {parts.hostname}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            (length,) = re.findall(rb"content-length: (\d+)", head.lower())
            await reader.readexactly(int(length))
            taken.append((time.perf_counter() - when) * 1e3)
            due.task_done()

    callers = [asyncio.create_task(caller()) for _ in range(connections)]
    began = time.perf_counter()
    for number in range(int(rate * seconds)):
        when = began + number / rate
        if (ahead := when - time.perf_counter()) > 0.0005:
            await asyncio.sleep(ahead)
        due.put_nowait((when, number))
    answered = asyncio.create_task(due.join())
    done, _ = await asyncio.wait([answered, *callers], timeout=60, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()  # a caller ends only by an error
    for task in callers:
        task.cancel()
    return sorted(taken)


def part(values: list[float], share: float) -> float:
    """The value below which `share` of the sorted `values` lie."""
    return values[min(int(len(values) * share), len(values) - 1)]


def body_of(url: str, folder: Path) -> Path:
    """The body of an answer, as a file."""
    import httpx

    path = folder / "body.json"
    path.write_bytes(httpx.get(url).raise_for_status().content)
    return path
