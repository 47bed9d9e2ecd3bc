"""Files that are damaged or meant to harm: an error of the documented kind, never a traceback, a hang or a flood."""

from __future__ import annotations

import io
import json
import os
import resource
import struct
import subprocess
import sys
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

from model_store.errors import PictureError
from model_store.pictures import MAX_PIXELS, decode_picture
from tests.reliability.conftest import Record
from training.data.interactions import read_interactions
from training.errors import DatasetError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("seed", "count"), [(0, 60), pytest.param(1, 1500, marks=pytest.mark.slow)])
def test_damaged_files_are_refused_in_words(seed: int, count: int, tmp_path: Path, record: Record) -> None:
    """Dataset files, feature arrays, events, pictures, and every file of a snapshot."""
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "tests.support.hostile_files",
        str(seed),
        str(count),
        str(tmp_path),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(reports) == 7
    assert all(report["refused"] > count / 3 for report in reports), reports
    record("damaged files", inputs=sum(report["inputs"] for report in reports), failed=0, wrong=0)


def chunk_of(kind: bytes, content: bytes) -> bytes:
    """A piece of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of(width: int, height: int) -> bytes:
    """A valid picture, all black, one bit per pixel: a few hundred bytes for millions of pixels."""
    pixels = zlib.compress(bytes((width + 7) // 8 + 1) * height, 9)
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk_of(b"IHDR", header) + chunk_of(b"IDAT", pixels) + chunk_of(b"IEND", b"")


def test_a_bomb_costs_nothing(tmp_path: Path) -> None:
    """40,000 x 40,000 pixels in 200 KB would take 4.8 GB as RGB."""
    bomb = png_of(40_000, 40_000)
    assert len(bomb) < 250_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(PictureError, match=f"at most {MAX_PIXELS} pixels"):
        decode_picture(bomb)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


def claiming(form: str, side: int) -> bytes:
    """A tiny picture whose header says that it is `side` pixels high and wide."""
    written = io.BytesIO()
    Image.new("RGB", (8, 8)).save(written, form)
    picture = bytearray(written.getvalue())
    for place, kind in {
        "JPEG": ((picture.find(b"\xff\xc0") + 5, ">H"), (picture.find(b"\xff\xc0") + 7, ">H")),
        "GIF": ((6, "<H"), (8, "<H")),
        "BMP": ((18, "<I"), (22, "<I")),
        "TIFF": tuple((picture.find(struct.pack("<H", tag)) + 8, "<I") for tag in (256, 257)),
    }[form]:
        struct.pack_into(kind, picture, place, side)
    return bytes(picture)


@pytest.mark.parametrize("form", ["JPEG", "GIF", "BMP", "TIFF"])
def test_nothing_is_decoded_on_the_word_of_a_header(form: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(PictureError, match=f"at most {MAX_PIXELS} pixels"):
        decode_picture(claiming(form, 60_000))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_what_hides_beside_the_pixels_costs_nothing(kind: bytes) -> None:
    """128 MB of zeros in the text or the colour profile of a picture of 8 x 8 pixels."""
    squeeze = zlib.compressobj(9)
    bomb = b"".join(squeeze.compress(bytes(2**20)) for _ in range(2**7)) + squeeze.flush()
    head = {b"zTXt": b"k\0\0", b"iTXt": b"k\0\1\0\0\0", b"iCCP": b"k\0\0"}[kind]
    whole = png_of(8, 8)
    picture = whole[:33] + chunk_of(kind, head + bomb) + whole[33:]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with suppress(PictureError):  # refused, or shown without it
        decode_picture(picture)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


@pytest.mark.parametrize("rating", ["1e39", "-1e300", "1e999", "nan"])
def test_huge_numbers_are_named(rating: str, tmp_path: Path) -> None:
    file = tmp_path / "x.inter"
    file.write_text(f"user_id\titem_id\trating\nu\ti\t1\nu\tj\t{rating}\n")
    with pytest.raises(DatasetError, match=r"line 3.*rating"):
        read_interactions(file)


def test_a_picture_that_is_no_file_is_no_hang(tmp_path: Path) -> None:
    """A pipe that nobody writes to would wait for ever."""
    os.mkfifo(tmp_path / "picture.png")
    with pytest.raises(PictureError):
        decode_picture(tmp_path / "picture.png")
