"""Locks between processes: `flock`, which the kernel releases when the holder dies, whatever kills it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model_store.errors import StoreBusy
from model_store.files import storage_errors

_POLL_SECONDS = 0.02


def try_lock(path: Path) -> int | None:
    """Open and lock `path` (made if missing); its descriptor, to be closed by the caller, or None if it is held."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def locked(path: Path, timeout: float) -> Iterator[None]:
    """Hold the lock on `path`, waiting up to `timeout` seconds for it; raises StoreBusy, StoreUnusable."""
    deadline = time.monotonic() + timeout
    with storage_errors(f"locking {path}"):
        while (descriptor := try_lock(path)) is None:
            if time.monotonic() >= deadline:
                raise StoreBusy(f"{path}: expected the lock within {timeout:g} s, found it held by another process")
            time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        os.close(descriptor)
