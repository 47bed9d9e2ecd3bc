"""Keeps what a snapshot maps in memory.

Pages of a file that no process has mapped are what a system takes back first, be they read a minute ago
(service/LOG.md); the next answer that touches them waits for the disk, many times over.
"""

from __future__ import annotations

import ctypes
import mmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

POPULATE_READ = 22
"""Linux's `MADV_POPULATE_READ`, from 5.14 on."""
_LIBC = ctypes.CDLL(None)  # Python's own `madvise` would keep the interpreter while the disk reads


def map_all(array: NDArray[Any]) -> None:
    """Map every page that a contiguous array over a file lies on; nothing where the system cannot."""
    start = array.ctypes.data // mmap.PAGESIZE * mmap.PAGESIZE
    size = array.ctypes.data + array.nbytes - start
    _LIBC.madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), ctypes.c_int(POPULATE_READ))


def held(path: Path) -> NDArray[np.uint8]:
    """The whole file, mapped for as long as the result is kept: for libraries that map it themselves, page by page."""
    mapped = np.memmap(path, np.uint8, mode="r")
    map_all(mapped)
    return mapped
