"""Renders an item's picture: a form in the item's hue with its pattern, softly lit, on a near-neutral ground.

Hue and pattern are the planted attributes. Form, size, turn, stripe width, saturation, light and ground are nuisances,
drawn independently of everything. Edges are anti-aliased by distance; a picture is arithmetic over a grid of pixels.
"""

from __future__ import annotations

import colorsys
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.data.demo.attributes import HUES, PATTERNS

SIDE = 96
"""Pixels per side."""
FORMS = ("disc", "tile", "capsule", "blossom", "hexagon", "shield")
STRIPE_DEGREES = {"horizontal": 90.0, "rising": -45.0, "vertical": 0.0, "falling": 45.0}
"""Direction across the stripes."""

Grid = NDArray[np.float64]
_STEPS = (np.arange(SIDE) + 0.5) / SIDE * 2 - 1
_X, _Y = np.meshgrid(_STEPS, -_STEPS)  # x to the right, y up, both in -1..1


def render_picture(hue: int, pattern: int, generator: np.random.Generator) -> bytes:
    """Return a PNG of `SIDE` × `SIDE` pixels with the hue and pattern of these indices."""
    angle = (hue + generator.uniform(-0.2, 0.2)) / len(HUES)
    body = _colour(angle, generator.uniform(0.55, 0.85), generator.uniform(0.7, 0.95))
    mark = _colour(angle + generator.uniform(-0.02, 0.02), generator.uniform(0.6, 0.9), generator.uniform(0.28, 0.42))
    ground = _colour(generator.uniform(), generator.uniform(0, 0.05), generator.uniform(0.88, 0.97))
    cover = _form(FORMS[generator.integers(len(FORMS))], generator)
    marked = _marks(PATTERNS[pattern], generator)[..., None]
    light = 1 - 0.12 * (_X * np.cos(turn := generator.uniform(0, 2 * np.pi)) + _Y * np.sin(turn))[..., None]
    picture = ground + cover[..., None] * ((body + marked * (mark - body)) * light - ground)
    pixels = np.clip(np.rint(picture * 255), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", compress_level=6)
    return file.getvalue()


def _colour(hue: float, saturation: float, value: float) -> NDArray[np.float64]:
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value))


def _form(name: str, generator: np.random.Generator) -> Grid:
    """Return (SIDE, SIDE) how much of each pixel the form covers; forms are given by their radius over the angle."""
    turn = generator.uniform(0, 2 * np.pi) if name in ("disc", "blossom", "hexagon") else generator.uniform(-0.3, 0.3)
    size = generator.uniform(0.68, 0.86)
    x = _X - generator.uniform(-0.06, 0.06)
    y = _Y - generator.uniform(-0.06, 0.06)
    angle = np.arctan2(y, x) + turn
    if name == "disc":
        radius = np.ones_like(angle)
    elif name == "blossom":
        radius = 0.9 + 0.13 * np.cos(6 * angle)
    elif name in ("hexagon", "shield"):
        corners = 6 if name == "hexagon" else 3
        sector = (angle + np.pi / 6) % (2 * np.pi / corners) - np.pi / corners
        radius = np.minimum(np.cos(np.pi / corners) / np.cos(sector), 0.93) + (0.15 if name == "shield" else 0.06)
    else:
        power, narrow = (7.0, 1.0) if name == "tile" else (4.0, 0.72)
        radius = (np.abs(np.cos(angle) / narrow) ** power + np.abs(np.sin(angle)) ** power) ** (-1 / power)
    distance = size * radius - np.hypot(x, y)
    covered: Grid = np.clip(0.5 + distance * SIDE / 2, 0, 1)
    return covered


def _marks(pattern: str, generator: np.random.Generator) -> Grid:
    """Return (SIDE, SIDE) how much of each pixel the pattern's second colour takes."""
    wave = generator.uniform(0.24, 0.34)
    shift_x, shift_y = generator.uniform(0, 2 * np.pi, size=2)
    jitter = generator.uniform(-7, 7)
    if pattern == "plain":
        return np.zeros((SIDE, SIDE))
    steepness = SIDE * wave / (4 * np.pi)  # a wave's zero crossing then takes about two pixels
    if pattern == "dots":
        turn = np.radians(generator.uniform(0, 90))
        across, along = _X * np.cos(turn) + _Y * np.sin(turn), _Y * np.cos(turn) - _X * np.sin(turn)
        bumps = np.cos(2 * np.pi * across / wave + shift_x) + np.cos(2 * np.pi * along / wave + shift_y)
        marks: Grid = np.clip(0.5 + (bumps - 0.5) * steepness, 0, 1)
        return marks
    direction = np.radians(STRIPE_DEGREES[pattern] + jitter)
    phase = 2 * np.pi * (_X * np.cos(direction) + _Y * np.sin(direction)) / wave + shift_x
    stripes: Grid = np.clip(0.5 + np.sin(phase) * steepness, 0, 1)
    return stripes
