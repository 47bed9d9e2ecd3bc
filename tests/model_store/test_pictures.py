"""Decoding pictures: every mode ends as plain RGB, and no file costs more than it may."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from model_store import pictures
from model_store.errors import PictureError
from model_store.pictures import decode_picture
from tests.support.encoders import picture, plain


def pixels(content: bytes) -> NDArray[np.uint8]:
    image = decode_picture(content)
    assert image.mode == "RGB"
    return np.asarray(image)


def test_plain_colours_survive() -> None:
    np.testing.assert_array_equal(pixels(picture(plain(10, 200, 30))), plain(10, 200, 30))


def test_exif_orientation_is_applied() -> None:
    sideways = plain(0, 0, 0, height=20, width=40)
    sideways[:, :20] = 255  # white on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise: left becomes top
    upright = pixels(picture(sideways, "PNG", exif=exif))
    assert upright.shape == (40, 20, 3)
    assert upright[0, 0, 0] == 255
    assert upright[-1, 0, 0] == 0


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_transparency_lies_over_white(form: str) -> None:
    half = np.zeros((8, 8, 4), np.uint8)
    half[..., 3] = 0, 0, 0, 0, 255, 255, 255, 255
    found = pixels(picture(half, form, lossless=True))
    assert (found[:, :4] == 255).all()
    assert (found[:, 4:] == 0).all()


def test_transparent_palette_colours_lie_over_white() -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((0, 0), 0)
    content = io.BytesIO()
    image.save(content, "PNG", transparency=b"\x00\xff")
    found = pixels(content.getvalue())
    assert tuple(found[0, 0]) == (255, 255, 255)
    assert tuple(found[1, 1]) == (0, 0, 255)


def test_grey_has_three_equal_channels() -> None:
    found = pixels(picture(np.full((5, 5), 77)))
    assert (found == 77).all()


def test_sixteen_bits_keep_their_high_byte() -> None:
    deep = Image.fromarray(np.array([[0, 0x7FFF], [0x8000, 0xFFFF]], np.uint16))
    content = io.BytesIO()
    deep.save(content, "PNG")
    np.testing.assert_array_equal(pixels(content.getvalue())[..., 0], [[0, 127], [128, 255]])


def test_cmyk_is_converted() -> None:
    red = pixels(picture(plain(255, 0, 0), "JPEG", mode="CMYK", quality=95))[20, 20].astype(int)
    assert red[0] > 200
    assert red[1:].max() < 60


@pytest.mark.parametrize(
    "content",
    [b"", b"not a picture", picture(plain(1, 2, 3))[:60], b"P6 1 1 255 \0\0\0"],
    ids=["empty", "text", "truncated", "a format that Pillow alone accepts"],
)
def test_what_is_no_picture_is_refused(content: bytes) -> None:
    with pytest.raises(PictureError, match="expected a readable"):
        decode_picture(content)


def test_the_message_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "cover.jpg"
    with pytest.raises(PictureError, match=r"cover\.jpg"):
        decode_picture(file)
    file.write_text("<html>404</html>")
    with pytest.raises(PictureError, match=r"cover\.jpg"):
        decode_picture(file)


@pytest.mark.parametrize("side", [7100, 10_000, 60_000], ids=["ours", "warned of", "a bomb"])
def test_the_header_alone_is_enough_to_refuse_a_bomb(side: int) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    content = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    with pytest.raises(PictureError, match="pixels"):
        decode_picture(content)


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "large.png"
    file.write_bytes(picture(plain(1, 2, 3)))
    monkeypatch.setattr(pictures, "MAX_BYTES", 50)
    with pytest.raises(PictureError, match="at most 50 bytes"):
        decode_picture(file)
