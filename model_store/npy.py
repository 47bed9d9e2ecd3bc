"""`.npy` files as read-only memory maps.

The header is matched, never evaluated: NumPy's own reader takes any Python literal and, for old files, a tokenizer, and
both can be made to fail in many ways.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import DTypeLike, NDArray

from model_store.errors import InvalidContent, SnapshotCorrupt
from model_store.files import reserve
from model_store.manifest import ArrayInfo, DType

_MAGIC = b"\x93NUMPY\x01\x00"
_MAX_HEADER_BYTES = 1024
_HEADER = re.compile(
    rb"\{'descr': '([^']{3})', 'fortran_order': (True|False), 'shape': \(((?:\d+, )*(?:\d+,?)?)\), \} *\n"
)


def storable_dtype(dtype: DTypeLike, name: str) -> np.dtype[Any]:
    """The little-endian form of a dtype that the format knows; raises InvalidContent naming the array."""
    little = np.dtype(dtype).newbyteorder("<")
    if little.str not in get_args(DType):
        raise InvalidContent(f"array {name!r}: expected one of {', '.join(get_args(DType))}, found {np.dtype(dtype)}")
    return little


def create(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[Any]]:
    """Make a zero-filled `.npy` file with its disk space reserved and map it for writing (C order)."""
    with path.open("xb") as file:
        npy_format.write_array_header_1_0(file, {"descr": dtype.str, "fortran_order": False, "shape": shape})
        file.flush()
        offset = file.tell()
        reserve(file.fileno(), offset + dtype.itemsize * math.prod(shape))
    return np.memmap(path, dtype=dtype, mode="r+", offset=offset, shape=shape, order="C")


def open_mapped(path: Path, info: ArrayInfo) -> NDArray[Any]:
    """Map an array read-only after its header was found equal to `info`; raises SnapshotCorrupt."""
    with path.open("rb") as file:
        start = file.read(len(_MAGIC) + 2)
        offset = len(start) + int.from_bytes(start[-2:], "little")
        if not start.startswith(_MAGIC) or offset > _MAX_HEADER_BYTES:
            raise SnapshotCorrupt(info.file, ".npy of version 1.0 with a short header", repr(start))
        header = file.read(offset - len(start))
        if (found := _HEADER.fullmatch(header)) is None:
            raise SnapshotCorrupt(info.file, "an .npy header as in FORMAT.md", repr(header)[:200])
        shape = tuple(int(size) for size in found[3].split(b",") if size)
        if (found[1].decode("latin-1"), found[2], shape) != (info.dtype, b"False", info.shape):
            raise SnapshotCorrupt(info.file, f"{info.dtype} {info.shape} in C order", repr(header.strip())[:200])
        dtype = np.dtype(info.dtype)
        expected = offset + dtype.itemsize * math.prod(shape)
        if (size := path.stat().st_size) != expected:
            raise SnapshotCorrupt(info.file, f"{expected} bytes for {info.dtype} {shape}", f"{size} bytes")
        try:
            mapped = np.memmap(file, dtype=dtype, mode="r", offset=offset, shape=shape, order="C")
        except (ValueError, OverflowError) as error:
            raise SnapshotCorrupt(info.file, "a shape that NumPy can hold", f"{shape}: {error}"[:200]) from error
    return mapped.view(np.ndarray)
