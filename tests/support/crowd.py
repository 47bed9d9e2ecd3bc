"""Many connections at once from one thread, each asking again as soon as it was answered."""

from __future__ import annotations

import asyncio
import collections
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np


@dataclass
class Crowd:
    """What a crowd was told, and after how many seconds."""

    taken: dict[str, list[float]] = field(default_factory=lambda: collections.defaultdict(list))

    def told(self) -> dict[str, Any]:
        """By status: how many, and when half and 99 of 100 of them had it."""
        return {
            status: {
                "count": len(seconds),
                "p50_ms": round(1000 * float(np.quantile(seconds, 0.5)), 1),
                "p99_ms": round(1000 * float(np.quantile(seconds, 0.99)), 1),
            }
            for status, seconds in sorted(self.taken.items())
        }


def ask_as_a_crowd(address: str, paths: Sequence[str], connections: int, seconds: float) -> Crowd:
    """Ask for the paths in turn over so many connections, without a pause."""
    place = urlsplit(address)
    crowd = Crowd()

    async def one(number: int, until: float) -> None:
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        while time.monotonic() < until:
            number += connections
            writer.write(f"GET {paths[number % len(paths)]} HTTP/1.1\r\nHost: crowd\r\n\r\n".encode())
            began = time.monotonic()
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, OSError) as error:
                crowd.taken[type(error).__name__].append(time.monotonic() - began)
                break
            lines = head.decode("latin-1").lower().split("\r\n")
            length = next(int(line.partition(":")[2]) for line in lines if line.startswith("content-length:"))
            await reader.readexactly(length)
            crowd.taken[lines[0].split(" ")[1]].append(time.monotonic() - began)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async def everybody() -> None:
        until = time.monotonic() + seconds
        await asyncio.gather(*(one(number, until) for number in range(connections)))

    asyncio.run(everybody())
    return crowd
