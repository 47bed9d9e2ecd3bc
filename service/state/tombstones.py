"""Who was forgotten, a second time on this host's disk: a Redis that lost its own disk hears of them again.

One JSON object per line, as `export-events` writes them, so `magnet-train run --events` reads the file as well.
"""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

from pydantic import ValidationError

from model_store.events import Forgotten

log = logging.getLogger("magnet.state")


class Tombstones:
    """A file that only grows; several workers append to it."""

    def __init__(self, file: Path) -> None:
        self._file = file

    async def add(self, user_id: str) -> None:
        """Keep one more, durably; where the disk will not have it, Redis alone knows."""
        try:
            await asyncio.to_thread(self._append, Forgotten(forgotten=user_id).model_dump_json().encode() + b"\n")
        except OSError as error:
            log.warning("%s: a forgotten user is known to Redis alone: %s", self._file, error)

    async def read(self) -> list[str]:
        """Everybody in it; a line that a crash cut short names nobody."""
        try:
            lines = (await asyncio.to_thread(self._file.read_bytes)).splitlines()
        except OSError:
            return []
        found: dict[str, None] = {}
        for line in lines:
            try:
                found[Forgotten.model_validate_json(line).forgotten] = None
            except ValidationError:
                log.warning("%s: expected a forgotten user, found %d bytes of something else", self._file, len(line))
        return list(found)

    def _append(self, line: bytes) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
