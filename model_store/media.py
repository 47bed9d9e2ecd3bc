"""Thumbnails of item pictures in the store: `<store>/media/<aa>/<hash>.webp`, named by their content.

A thumbnail is WebP, 8-bit RGB, at most 256 pixels a side; its hash is the SHA-256 of the file, `aa` its beginning.
An empty file `<hash>.kept` beside it says that more than snapshots refer to it: the service's live items, which only
its state knows.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Container
from pathlib import Path
from typing import Final

from PIL import Image

from model_store.files import replace_file, storage_errors
from model_store.pictures import decode_picture

MAX_SIDE: Final = 256
QUALITY: Final = 80
CONTENT_TYPE: Final = "image/webp"
MEDIA: Final = "media"
SUFFIX: Final = ".webp"
KEPT: Final = ".kept"
GRACE_SECONDS: Final = 86_400
"""An export writes thumbnails before the snapshot that refers to them."""

_HASH = re.compile(r"[0-9a-f]{64}")


def add_picture(root: Path, source: Path | bytes, *, for_good: bool = False) -> str:
    """Keep a thumbnail of the picture in the store at `root` and return its hash; the same picture is kept once.

    Without `for_good` it may be pruned a day later unless a snapshot refers to it. Nothing of the original but its
    pixels is kept: no EXIF, no position. Raises PictureError, StoreFull, StoreUnusable.
    """
    image = decode_picture(source)
    image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.BICUBIC)
    encoded = io.BytesIO()
    image.save(encoded, "WEBP", quality=QUALITY, method=2)
    content = encoded.getvalue()
    media_hash = hashlib.sha256(content).hexdigest()
    path = _place(root, media_hash)
    with storage_errors(f"writing the thumbnail {media_hash}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        if for_good:
            path.with_suffix(KEPT).touch()  # before the picture is looked for: pruning looks in the other order
        try:
            if path.is_file():
                path.touch()
            else:
                replace_file(path, content)
        except PermissionError:  # of another user's file, which is there
            if not path.is_file():
                raise
    return media_hash


def prune_pictures(root: Path, used: Container[str | None], staging: Path, now: float) -> int:
    """Remove thumbnails whose hash is not `used`, that are not kept for good and were not asked for in the last day.

    How many. Each is moved to `staging` first and looked at again, for one may be added this very moment. Raises
    OSError.
    """

    def is_wanted(path: Path, file: Path) -> bool:
        return path.with_suffix(KEPT).exists() or file.stat().st_mtime > now - GRACE_SECONDS

    removed = 0
    for path in (root / MEDIA).glob(f"??/*{SUFFIX}"):
        if path.stem in used or _HASH.fullmatch(path.stem) is None or is_wanted(path, path):
            continue
        staging.mkdir(exist_ok=True)
        moved = path.rename(staging / path.name)
        if is_wanted(path, moved):
            moved.rename(path)
        else:
            moved.unlink()
            removed += 1
    return removed


def media_path(root: Path, media_hash: str) -> Path | None:
    """The file of a thumbnail, or None if there is none of that hash; any string is safe to ask for."""
    if _HASH.fullmatch(media_hash) is None:
        return None
    path = _place(root, media_hash)
    return path if path.is_file() else None


def _place(root: Path, media_hash: str) -> Path:
    return root / MEDIA / media_hash[:2] / f"{media_hash}{SUFFIX}"
