"""The filter bank answers to colours and orientations as its documentation says."""

import numpy as np
import pytest
from numpy.typing import NDArray

from model_store.encoders import ContentEncoder
from tests.support.encoders import filter_bank, picture, plain
from training.encoders.filter_bank import ORIENTATIONS, build_graph, column_names, gabor_kernels, reference_colours

NAMES = column_names()
EDGES = np.array([name.startswith("edge") for name in NAMES])


def encode(*pictures: NDArray[np.generic]) -> NDArray[np.float32]:
    values, present = ContentEncoder.open(filter_bank()).encode_images([picture(pixels) for pixels in pictures])
    assert present.all()
    return values


def stripes(wavelength: float, degrees: float, side: int = 96) -> NDArray[np.float64]:
    """Grey stripes that run in the direction `degrees`, anticlockwise from horizontal."""
    down, right = np.mgrid[:side, :side]
    turn = np.radians(degrees)
    across = right * np.sin(turn) + down * np.cos(turn)
    return np.repeat(127 + 120 * np.sin(2 * np.pi * across / wavelength)[..., None], 3, axis=2)


def loudest(row: NDArray[np.float32], place: str, kind: str) -> str:
    names = [(value, name) for value, name in zip(row, NAMES, strict=True) if name.startswith(kind) and place in name]
    return max(names)[1].rsplit(",")[0]


def test_every_column_has_a_name() -> None:
    assert len(NAMES) == len(set(NAMES)) == encode(plain(1, 2, 3)).shape[1] == 290


# L*a*b* of the sRGB primaries by the CIE formulas: red (53, 80, 67), green (88, -86, 83), blue (32, 79, -108).
@pytest.mark.parametrize(
    ("rgb", "hue"),
    [((255, 0, 0), 40), ((0, 255, 0), 136), ((0, 0, 255), 306), ((255, 255, 0), 103), ((0, 255, 255), 196)],
)
def test_a_colour_is_found_near_its_own_hue(rgb: tuple[int, int, int], hue: float) -> None:
    best = reference_colours()[int(encode(plain(*rgb))[0, :34].argmax())]
    off = (np.degrees(np.arctan2(best[2], best[1])) - hue + 180) % 360 - 180
    assert np.hypot(best[1], best[2]) > 0
    assert abs(off) <= 25  # the references of a ring are 30° or 45° apart


@pytest.mark.parametrize(("grey", "lightness"), [(0, 5), (56, 22), (119, 40), (145, 60), (198, 80), (255, 97)])
def test_greys_are_found_by_their_lightness(grey: int, lightness: int) -> None:
    best = reference_colours()[int(encode(plain(grey, grey, grey))[0, :34].argmax())]
    assert best[1:].tolist() == [0, 0]
    assert abs(best[0] - lightness) <= 20


def test_a_colour_between_two_references_counts_for_both() -> None:
    near, between, far = encode(plain(255, 0, 0), plain(255, 60, 0), plain(255, 128, 0))[:, :34]
    assert near @ between > near @ far + 0.02
    assert far @ between > near @ far + 0.02


def test_colours_are_found_where_they_are() -> None:
    pixels = plain(0, 0, 255, 96, 96)
    pixels[:48, 48:] = 255, 0, 0
    row = encode(pixels)[0]
    red = loudest(encode(plain(255, 0, 0))[0], "whole", "colour")
    at = {place: row[NAMES.index(f"{red}, {place}")] for place in ("top left", "top right", "bottom right")}
    assert at["top right"] > 5 * max(at["top left"], at["bottom right"])


@pytest.mark.parametrize("wavelength", [4, 8, 16])
@pytest.mark.parametrize("degrees", ORIENTATIONS)
def test_stripes_are_found_by_direction_and_width(wavelength: int, degrees: int) -> None:
    assert loudest(encode(stripes(wavelength, degrees))[0], "whole", "edge") == f"edge {wavelength} px {degrees}°"


def test_edges_are_found_where_they_are() -> None:
    pixels = np.full((96, 96, 3), 127.0)
    pixels[48:, :48] = stripes(8, 90)[48:, :48]
    row = encode(pixels)[0]
    at = {place: row[NAMES.index(f"edge 8 px 90°, {place}")] for place in ("top right", "bottom left")}
    assert at["bottom left"] > 5 * at["top right"]


def test_brightness_does_not_change_direction() -> None:
    loud, quiet = encode(stripes(8, 30), 127 + (stripes(8, 30) - 127) / 3)
    assert loudest(loud, "whole", "edge") == loudest(quiet, "whole", "edge")


def test_a_flat_picture_has_no_edges() -> None:
    flat, striped = encode(plain(120, 40, 200), stripes(8, 0))
    assert np.linalg.norm(flat[EDGES]) < 0.02
    assert np.linalg.norm(striped[EDGES]) > 0.5


def test_the_same_picture_at_another_size_is_nearly_the_same() -> None:
    small = stripes(16, 90)
    large = np.kron(small, np.ones((3, 3, 1)))
    first, second, other = encode(small, large, stripes(16, 0))
    assert first @ second > 0.99
    assert first @ second > first @ other + 0.2


def test_filters_ignore_brightness() -> None:
    kernels = gabor_kernels()
    assert kernels.shape == (12, 9, 9)
    np.testing.assert_allclose(kernels.sum(axis=(1, 2)), 0, atol=1e-12)


def test_the_graph_is_the_same_every_time() -> None:
    assert build_graph() == build_graph()
