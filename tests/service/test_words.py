"""Texts that come back whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from tempfile import gettempdir

import pytest

from service.words import Words


def test_texts_come_back_as_long_as_there_is_room() -> None:
    words = Words(4, 10)
    for number, text in enumerate((b"four", b"six is", b"much too long", b"")):
        words.put(number, text)
    assert [words.get(number) for number in range(4)] == [b"four", b"six is", None, None]
    words.forget(0)
    assert (words.get(0), words.get(1)) == (None, b"six is")
    assert words._file is not None
    assert os.pread(words._file, 100, 0) == bytes(4) + b"six is"
    assert Words(1, 0).get(0) is None


def test_the_file_has_no_name_and_ends_with_the_last_who_uses_it() -> None:
    words = Words(1, 10)
    descriptor = words._file
    assert descriptor is not None
    assert not list(Path(gettempdir()).glob("magnet-words-*"))
    del words
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_full_disk_costs_nothing_but_the_words(monkeypatch: pytest.MonkeyPatch) -> None:
    words = Words(2, 100)
    words.put(0, b"there")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    words.put(1, b"not there")
    assert [words.get(number) for number in range(2)] == [b"there", None]
