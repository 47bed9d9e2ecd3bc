"""From picture files to vectors: preprocessing as described, missing and unreadable ones, rows on their own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from model_store.encoders import ContentEncoder, write_bundle
from model_store.encoders.inputs import picture_input
from model_store.errors import EncoderError, PictureError
from tests.support.encoders import filter_bank, mean_colour, minilm, picture, plain


def quadrants(height: int = 64, width: int = 64) -> NDArray[np.uint8]:
    """Red, green over blue, white."""
    pixels = plain(255, 255, 255, height, width)
    pixels[: height // 2, : width // 2] = 255, 0, 0
    pixels[: height // 2, width // 2 :] = 0, 255, 0
    pixels[height // 2 :, : width // 2] = 0, 0, 255
    return pixels


def prepared(pixels: NDArray[np.uint8], **changes: Any) -> NDArray[np.float32]:
    description, _ = mean_colour(**changes)
    assert description.image is not None
    return picture_input(picture(pixels), description.image)


def test_mean_and_deviation_are_per_channel_and_channels_come_first() -> None:
    found = prepared(plain(255, 51, 0), mean=(0.5, 0.1, 0.2), std=(0.25, 0.5, 1.0))
    assert found.shape == (3, 8, 8)
    assert found.dtype == np.float32
    # (255/255 - 0.5) / 0.25, (51/255 - 0.1) / 0.5, (0 - 0.2) / 1
    np.testing.assert_allclose(found[:, 0, 0], [2.0, 0.2, -0.2], atol=1e-6)


def test_channels_may_come_last() -> None:
    np.testing.assert_array_equal(
        prepared(quadrants(), layout="NHWC"), prepared(quadrants(), layout="NCHW").transpose(1, 2, 0)
    )


def test_squash_keeps_everything() -> None:
    found = prepared(quadrants(32, 128), crop_to=(16, 16))
    np.testing.assert_array_equal(found[:, 2, 2], [1, 0, 0])
    np.testing.assert_array_equal(found[:, 2, 13], [0, 1, 0])
    np.testing.assert_array_equal(found[:, 13, 2], [0, 0, 1])


@pytest.mark.parametrize(("height", "width"), [(16, 80), (80, 16), (1, 2000), (2000, 1)])
def test_cover_keeps_the_middle(height: int, width: int) -> None:
    pixels = plain(0, 0, 0, height, width)
    middle = (slice(None), slice(width // 2 - width // 20 - 1, width // 2 + width // 20 + 1))
    pixels[middle if width > height else (slice(height // 2 - height // 20 - 1, height // 2 + height // 20 + 1),)] = 255
    found = prepared(pixels, resize="cover", crop_to=(16, 16))
    assert found.shape == (3, 16, 16)
    assert found[0, 8, 8] == 1  # the white band through the middle
    assert found[0].mean() > 0.4  # and nothing but the middle fills the frame


def test_cover_bounds_the_work_on_a_thread_of_a_picture() -> None:
    found = prepared(plain(9, 9, 9, 1, 60_000), resize="cover", resize_to=(512, 512), crop_to=(512, 512))
    assert found.shape == (3, 512, 512)


@pytest.mark.parametrize(("height", "width"), [(16, 64), (1, 5000)])
def test_contain_pads_with_white(height: int, width: int) -> None:
    found = prepared(plain(0, 0, 0, height, width), resize="contain", crop_to=(16, 16))
    assert found[0, 0].min() == 1
    assert found[0, -1].min() == 1
    assert found[0, 7:9].min() == 0


def test_the_graph_gets_the_middle_of_the_picture(tmp_path: Path) -> None:
    encoder = ContentEncoder.open(write_bundle(tmp_path, *mean_colour(), None))
    pixels = plain(0, 0, 0, 64, 64)
    pixels[16:48, 16:48] = 255, 0, 51  # after squashing to 16 x 16, exactly the crop but for blurred edges
    values, present = encoder.encode_images([picture(pixels)])
    assert present.tolist() == [True]
    assert values[0, 0] > 0.85
    np.testing.assert_allclose(values[0] / values[0, 0], [1, 0, 0.2], atol=0.01)


def test_absent_pictures_are_zero_rows() -> None:
    encoder = ContentEncoder.open(filter_bank())
    values, present = encoder.encode_images([None, picture(plain(200, 10, 10)), None])
    assert present.tolist() == [False, True, False]
    assert not values[[0, 2]].any()
    np.testing.assert_allclose(np.linalg.norm(values[1]), 1, atol=1e-6)


def test_no_pictures_at_all() -> None:
    encoder = ContentEncoder.open(filter_bank())
    for images in ([], [None, None]):
        values, present = encoder.encode_images(images)
        assert values.shape == (len(images), encoder.width)
        assert not present.any()


def test_rows_do_not_depend_on_their_batch() -> None:
    encoder = ContentEncoder.open(filter_bank())
    rng = np.random.default_rng(3)
    images = [picture(rng.integers(0, 256, (30 + row, 50, 3))) for row in range(7)]
    alone = np.concatenate([encoder.encode_images([image])[0] for image in images])
    for size in (2, 7):
        np.testing.assert_allclose(encoder.encode_images(images, batch_size=size)[0], alone, atol=1e-5)


def test_an_unreadable_picture_raises_unless_somebody_listens(tmp_path: Path) -> None:
    encoder = ContentEncoder.open(filter_bank())
    torn = tmp_path / "torn.jpg"
    torn.write_bytes(picture(plain(3, 200, 3), "JPEG")[:200])
    images: list[Path | bytes | None] = [picture(plain(200, 3, 3)), torn, None, b"junk", picture(plain(3, 3, 200))]
    with pytest.raises(PictureError, match=r"torn\.jpg"):
        encoder.encode_images(images)
    heard: dict[int, str] = {}
    values, present = encoder.encode_images(
        images, batch_size=2, on_unreadable=lambda row, error: heard.update({row: str(error)})
    )
    assert present.tolist() == [True, False, False, False, True]
    assert not values[~present].any()
    assert heard.keys() == {1, 3}
    assert "torn.jpg" in heard[1]
    np.testing.assert_allclose(values[[0, 4]], encoder.encode_images([images[0], images[4]])[0], atol=1e-5)


def test_progress_ends_at_all_rows() -> None:
    encoder = ContentEncoder.open(filter_bank())
    seen: list[tuple[int, int]] = []
    image = picture(plain(1, 2, 3))
    encoder.encode_images([image, None, image, image], batch_size=2, progress=lambda *steps: seen.append(steps))
    assert seen == [(3, 4), (4, 4)]


def test_a_text_encoder_takes_no_pictures() -> None:
    with pytest.raises(EncoderError, match="expected pictures to go to an image encoder"):
        ContentEncoder.open(minilm()).encode_images([])
    with pytest.raises(EncoderError, match="expected texts to go to a text encoder"):
        ContentEncoder.open(filter_bank()).encode_texts([])
