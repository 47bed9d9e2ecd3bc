"""Thumbnails: small, named by their content, and safe to ask for by any string."""

import hashlib
import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model_store.errors import PictureError
from model_store.media import MAX_SIDE, add_picture, media_path, prune_pictures
from model_store.store import Store
from tests.support.encoders import picture, plain
from tests.support.tiny_snapshot import write_tiny_popularity_snapshot


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


def old(path: Path) -> Path:
    """As if it had been written two days ago."""
    before = path.stat().st_mtime - 2 * 86_400
    os.utime(path, (before, before))
    return path


def test_pruning_leaves_what_is_used_kept_or_young(tmp_path: Path) -> None:
    hashes = [add_picture(tmp_path, picture(plain(shade, 0, 0)), for_good=shade == 60) for shade in (0, 60, 120, 180)]
    used, kept, forsaken, young = hashes
    for media_hash in (used, kept, forsaken):
        old(tmp_path / "media" / media_hash[:2] / f"{media_hash}.webp")
    assert prune_pictures(tmp_path, {used}, tmp_path / "staging", time.time()) == 1
    assert [media_path(tmp_path, media_hash) is not None for media_hash in hashes] == [True, True, False, True]
    assert young in hashes


def test_asking_for_a_picture_again_makes_it_young(tmp_path: Path) -> None:
    content = picture(plain(1, 2, 3))
    path = media_path(tmp_path, add_picture(tmp_path, content))
    assert path is not None
    old(path)
    add_picture(tmp_path, content)
    assert prune_pictures(tmp_path, set(), tmp_path / "staging", time.time()) == 0


def test_pruning_a_store_removes_leftovers_of_encoders_and_forsaken_pictures(tmp_path: Path) -> None:
    Store(tmp_path).promote(write_tiny_popularity_snapshot(tmp_path))
    forsaken = media_path(tmp_path, add_picture(tmp_path, picture(plain(1, 2, 3))))
    assert forsaken is not None
    old(forsaken)
    dead, alive = tmp_path / "encoders" / ".new-dead", tmp_path / "encoders" / ".new-alive"
    for folder in (dead, alive):
        folder.mkdir(parents=True)
        (folder / "encoder.onnx").write_bytes(b"half")
    old(dead)
    Store(tmp_path).prune(keep=0)
    assert (forsaken.exists(), dead.exists(), alive.exists()) == (False, False, True)
