"""Files that survive a crash: durable writes, hashes, removal of read-only trees, and what a full disk looks like."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from model_store.errors import SnapshotCorrupt, StoreFull, StoreUnusable

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def storage_errors(doing: str) -> Iterator[None]:
    """Turn what the operating system says inside the block into StoreFull or StoreUnusable, naming what was `doing`."""
    try:
        yield
    except OSError as error:
        kind = StoreFull if error.errno in _FULL else StoreUnusable
        raise kind(
            f"{doing}: {error.strerror or error}" + (f" ({error.filename})" if error.filename else "")
        ) from error


def sync(path: Path) -> None:
    """Make a file's content, or a directory's entries, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that takes the place of `path` at the end of the block: a reader, or a crash, sees old or new.

    An exception inside the block leaves the old file.
    """
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(temporary).unlink()
        raise
    sync(path.parent)


def replace_file(path: Path, content: bytes) -> None:
    """Write `path` at once, as `replacing` does."""
    with replacing(path) as file:
        file.write(content)


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def regular_size(path: Path, name: str) -> int:
    """Size in bytes of a file that is neither missing nor a link nor a device; raises SnapshotCorrupt naming `name`."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        raise SnapshotCorrupt(name, "a file", "nothing") from None
    if not stat.S_ISREG(status.st_mode):
        raise SnapshotCorrupt(name, "a plain file", "a link" if stat.S_ISLNK(status.st_mode) else "something else")
    return status.st_size


def reserve(descriptor: int, size: int) -> None:
    """Give an empty file its blocks, so that a full disk is an OSError here and no SIGBUS in a memory map later."""
    if hasattr(os, "posix_fallocate") and size > 0:
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.ftruncate(descriptor, size)


def remove_tree(path: Path) -> None:
    """Remove a directory and everything below it, read-only or not; nothing happens if it is not there."""
    for folder, _, _ in os.walk(path):
        with suppress(OSError):
            Path(folder).chmod(0o700)
    shutil.rmtree(path, ignore_errors=True)
