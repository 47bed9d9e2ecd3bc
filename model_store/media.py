"""Thumbnails of item pictures in the store: `<store>/media/<aa>/<hash>.webp`, named by their content.

A thumbnail is WebP, 8-bit RGB, at most 256 pixels a side; its hash is the SHA-256 of the file, `aa` its beginning.
"""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path
from typing import Final

from PIL import Image

from model_store.files import replace_file, storage_errors
from model_store.pictures import decode_picture

MAX_SIDE: Final = 256
QUALITY: Final = 80
CONTENT_TYPE: Final = "image/webp"

_HASH = re.compile(r"[0-9a-f]{64}")


def add_picture(root: Path, source: Path | bytes) -> str:
    """Keep a thumbnail of the picture in the store at `root` and return its hash; the same picture is kept once.

    Nothing of the original but its pixels is kept: no EXIF, no position. Raises PictureError, StoreFull, StoreUnusable.
    """
    image = decode_picture(source)
    image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.BICUBIC)
    encoded = io.BytesIO()
    image.save(encoded, "WEBP", quality=QUALITY, method=2)
    content = encoded.getvalue()
    media_hash = hashlib.sha256(content).hexdigest()
    path = _place(root, media_hash)
    if not path.is_file():
        with storage_errors(f"writing the thumbnail {media_hash}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, content)
    return media_hash


def media_path(root: Path, media_hash: str) -> Path | None:
    """The file of a thumbnail, or None if there is none of that hash; any string is safe to ask for."""
    if _HASH.fullmatch(media_hash) is None:
        return None
    path = _place(root, media_hash)
    return path if path.is_file() else None


def _place(root: Path, media_hash: str) -> Path:
    return root / "media" / media_hash[:2] / f"{media_hash}.webp"
