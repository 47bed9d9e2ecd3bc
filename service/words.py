"""Answers put into words before anybody asks, in a file without a name: memory of the disk, not of the process."""

from __future__ import annotations

import logging
import os
import weakref
from array import array
from contextlib import suppress
from pathlib import Path
from tempfile import mkstemp

log = logging.getLogger("magnet.words")


class Words:
    """Texts by number, `max_bytes` at most; they end with the process, and what the disk refuses is not kept."""

    def __init__(self, count: int, max_bytes: int) -> None:
        self._starts, self._lengths = array("q", bytes(8 * count)), array("l", bytes(array("l").itemsize * count))
        self._room = max_bytes
        self._end = 0
        self._file: int | None = None
        if max_bytes:
            try:
                self._file, path = mkstemp(prefix="magnet-words-")
                weakref.finalize(self, os.close, self._file)
                Path(path).unlink()
            except OSError as error:
                log.warning("no answers are put into words ahead: %s", error)

    def put(self, number: int, text: bytes) -> None:
        """Keep a text, where there is room."""
        if self._file is None or self._end + len(text) > self._room:
            return
        try:
            written = os.pwrite(self._file, text, self._end)
        except OSError as error:
            log.warning("no further answers are put into words ahead: %s", error)
            self._room = 0
            return
        if written == len(text):
            self._starts[number], self._lengths[number] = self._end, written
        self._end += written

    def get(self, number: int) -> bytes | None:
        """The text of this number, None where none is kept."""
        length = self._lengths[number]
        if not length or self._file is None:
            return None
        try:
            text = os.pread(self._file, length, self._starts[number])
        except OSError as error:
            log.warning("an answer in words cannot be read: %s", error)
            return None
        return text if len(text) == length else None

    def forget(self, number: int) -> None:
        """Take a text down, and overwrite it."""
        length, self._lengths[number] = self._lengths[number], 0
        if length and self._file is not None:
            with suppress(OSError):  # nobody reads it any more
                os.pwrite(self._file, bytes(length), self._starts[number])
