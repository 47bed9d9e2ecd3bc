"""`.npy` files as read-only memory maps; the header is parsed here, nothing is ever unpickled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import DTypeLike, NDArray

from model_store.errors import InvalidContent, SnapshotCorrupt
from model_store.files import reserve
from model_store.manifest import ArrayInfo

_MAX_HEADER_BYTES = 1000
_DTYPES = ("|b1", "|u1", "|i1", "<i2", "<i4", "<i8", "<u8", "<f2", "<f4", "<f8")


def storable_dtype(dtype: DTypeLike, name: str) -> np.dtype[Any]:
    """The little-endian form of a dtype that the format knows; raises InvalidContent naming the array."""
    little = np.dtype(dtype).newbyteorder("<")
    if little.str not in _DTYPES:
        raise InvalidContent(f"array {name!r}: expected one of {', '.join(_DTYPES)}, found {np.dtype(dtype).str}")
    return little


def create(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[Any]]:
    """Make a zero-filled `.npy` file with its disk space reserved and map it for writing (C order)."""
    with path.open("xb") as file:
        npy_format.write_array_header_1_0(
            file, {"descr": npy_format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        )
        file.flush()
        offset = file.tell()
        reserve(file.fileno(), offset + dtype.itemsize * int(np.prod(shape, dtype=np.int64)))
    return np.memmap(path, dtype=dtype, mode="r+", offset=offset, shape=shape, order="C")


def open_mapped(path: Path, info: ArrayInfo) -> NDArray[Any]:
    """Map an array read-only after its header was found equal to `info`; raises SnapshotCorrupt."""
    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            version = npy_format.read_magic(file)
            if version != (1, 0):
                raise SnapshotCorrupt(info.file, "an .npy header of version (1, 0)", str(version))
            shape, fortran, dtype = npy_format.read_array_header_1_0(file, max_header_size=_MAX_HEADER_BYTES)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
            raise SnapshotCorrupt(info.file, "an .npy header", str(error)[:200]) from error
        offset = file.tell()
        if dtype.str != info.dtype or shape != info.shape or (fortran and len(shape) > 1):
            expected = f"{info.dtype} {info.shape} in C order"
            raise SnapshotCorrupt(info.file, expected, f"{dtype.str} {shape}" + (" in Fortran order" * fortran))
        content = dtype.itemsize * int(np.prod(shape, dtype=object))
        if size != offset + content:
            raise SnapshotCorrupt(info.file, f"{offset + content} bytes for {dtype.str} {shape}", f"{size} bytes")
        try:
            mapped = np.memmap(file, dtype=dtype, mode="r", offset=offset, shape=shape, order="C")
        except (ValueError, OverflowError) as error:
            raise SnapshotCorrupt(info.file, "a shape that NumPy can hold", f"{shape}: {error}"[:200]) from error
    return mapped.view(np.ndarray)
