"""Decoding item pictures from anywhere into plain RGB, within bounds on what one file may cost."""

from __future__ import annotations

import io
import stat
from pathlib import Path
from typing import Final

from PIL import Image, ImageFile, ImageOps

from model_store.errors import PictureError

MAX_PIXELS: Final = 50_000_000
"""A 48-megapixel photograph passes; as RGB it costs 150 MB for the moment of decoding."""

MAX_BYTES: Final = 64 * 2**20
"""Larger files are refused unread."""

FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""Formats accepted, by content and not by name; Pillow knows dozens, some of which start other programs."""

WHITE: Final = (255, 255, 255)


def decode_picture(source: Path | bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """An RGB picture of 8 bits per channel, upright (EXIF orientation applied), transparency laid over white.

    Of an animation the first frame counts. 16-bit channels keep their high byte. Raises `PictureError`, naming the
    file, for what is not a picture, is truncated or damaged, or has more than `max_pixels` pixels; the pixel count is
    read from the header, before anything of that size is allocated.
    """
    name = f"a picture of {len(source)} bytes" if isinstance(source, bytes) else str(source)
    try:
        content = source if isinstance(source, bytes) else _read(source)
        if len(content) > MAX_BYTES:
            raise PictureError(f"{name}: expected at most {MAX_BYTES} bytes, found {len(content)}")
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise PictureError(f"{name}: expected at most {max_pixels} pixels, found {width} x {height}")
            return _to_rgb(_upright(image))
    except PictureError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureError(f"{name}: expected at most {max_pixels} pixels: {error}") from error
    except Exception as error:  # damaged files make decoders raise almost anything, SyntaxError included
        raise PictureError(f"{name}: expected a readable {', '.join(FORMATS)} picture: {error}") from error


def _read(path: Path) -> bytes:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # reading a pipe may never end
        raise PictureError(f"{path}: expected a file")
    size = status.st_size
    if size > MAX_BYTES:
        raise PictureError(f"{path}: expected at most {MAX_BYTES} bytes, found {size}")
    return path.read_bytes()


def _upright(image: ImageFile.ImageFile) -> Image.Image:
    image.load()  # a truncated file fails here
    if image.getexif().get(0x0112, 1) == 1:
        return image
    return ImageOps.exif_transpose(image)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits in one or four bytes per pixel; convert("RGB") would clip instead of scale
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        flat = Image.new("RGB", image.size, WHITE)
        flat.paste(layered, mask=layered.getchannel("A"))
        return flat
    return image.convert("RGB")
