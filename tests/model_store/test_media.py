"""Thumbnails: small, named by their content, and safe to ask for by any string."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model_store.errors import PictureError
from model_store.media import MAX_SIDE, add_picture, media_path
from tests.support.encoders import picture, plain


def test_a_thumbnail_is_small_keeps_its_ratio_and_is_named_by_its_content(tmp_path: Path) -> None:
    media_hash = add_picture(tmp_path, picture(plain(200, 30, 30, height=300, width=600)))
    path = media_path(tmp_path, media_hash)
    assert path is not None
    assert path == tmp_path / "media" / media_hash[:2] / f"{media_hash}.webp"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == media_hash
    with Image.open(path) as thumbnail:
        assert thumbnail.size == (MAX_SIDE, MAX_SIDE // 2)
        assert np.abs(np.asarray(thumbnail.convert("RGB")).mean(axis=(0, 1)) - (200, 30, 30)).max() < 8


def test_small_pictures_are_not_enlarged(tmp_path: Path) -> None:
    path = media_path(tmp_path, add_picture(tmp_path, picture(plain(1, 2, 3, height=10, width=12))))
    assert path is not None
    with Image.open(path) as thumbnail:
        assert thumbnail.size == (12, 10)


def test_the_same_picture_is_kept_once(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(picture(plain(9, 9, 9)))
    assert add_picture(tmp_path, file) == add_picture(tmp_path, file.read_bytes())
    assert len(list((tmp_path / "media").rglob("*.webp"))) == 1


def test_metadata_is_left_behind(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    path = media_path(tmp_path, add_picture(tmp_path, picture(plain(1, 2, 3), "JPEG", exif=exif)))
    assert path is not None
    assert b"taken at home" not in path.read_bytes()


@pytest.mark.parametrize("bad", ["", "..", "../../etc/passwd", "0" * 63, "0" * 64, "A" * 64, "0" * 64 + "\n", "\0"])
def test_any_string_is_safe_to_ask_for(tmp_path: Path, bad: str) -> None:
    add_picture(tmp_path, picture(plain(1, 2, 3)))
    assert media_path(tmp_path, bad) is None


def test_a_bad_picture_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(PictureError):
        add_picture(tmp_path, b"nothing")
    assert list(tmp_path.iterdir()) == []
