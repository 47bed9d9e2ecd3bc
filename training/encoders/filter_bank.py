"""The weight-free image encoder: a fixed bank of colours and oriented edges, written directly as an ONNX graph.

A picture is squashed to 96 x 96. Two blocks of columns, each of Euclidean length at most 1 and of equal weight, are
pooled over five places, the whole picture and its four quarters (top left, top right, bottom left, bottom right):

- **Colour**: every pixel is turned into CIE L*a*b* (D65) and shared among 34 reference colours by a softmax over
  -distance² / 2·14², so a colour between two references counts for both. The mean share per place, square-rooted
  (Hellinger), is the column.
- **Edges**: Gabor pairs (even and odd, wavelength 4 pixels) at six orientations on lightness at full, half, quarter and
  eighth resolution, so wavelengths of 4, 8, 16 and 32 pixels. The mean magnitude per place, divided by the sum of all
  edge columns plus a constant, square-rooted, is the column: a flat picture has edges near zero, not amplified noise.

Column order: colours of the whole picture, colour by colour; then per colour the four quarters; then for each
wavelength in rising order the orientations of the whole picture, and then per orientation the four quarters
(`column_names` spells them out). An orientation is the direction of the stripes: 0° horizontal, 90° vertical, turning
anticlockwise. The constants are our choice; the ingredients are textbook (colour histograms, Gabor energies, spatial
pyramid, power normalisation).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model_store.encoders import EncoderDescription, EncoderSource, ImageInput, find_bundle, write_bundle
from training.encoders import fingerprints
from training.encoders.graph_builder import GraphBuilder

SIDE: Final = 96
SOFTNESS: Final = 14.0
"""σ of the colour shares, in units of L*a*b*; neighbouring references are about 30 apart."""

WAVELENGTH: Final = 4.0
ENVELOPE: Final = 2.0
"""σ of the Gabor envelope in pixels: about two stripes wide, an orientation bandwidth of some 30°."""

REACH: Final = 4
"""Half the kernel: 9 x 9."""

ORIENTATIONS: Final = (0, 30, 60, 90, 120, 150)
OCTAVES: Final = 4
STILLNESS: Final = 0.5
"""Added to the sum of edge magnitudes; a picture with one clear edge has a sum of about 1, one full of stripes 10."""

PLACES: Final = ("whole", "top left", "top right", "bottom left", "bottom right")

_SRGB_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def reference_colours() -> NDArray[np.float64]:
    """The 34 reference colours as (L*, a*, b*), (34, 3): six greys, then three rings of hues in rising lightness."""
    greys = [(lightness, 0.0, 0.0) for lightness in (5.0, 22.0, 40.0, 60.0, 80.0, 97.0)]
    rings = [
        (lightness, chroma * np.cos(np.radians(hue)), chroma * np.sin(np.radians(hue)))
        for lightness, chroma, step in ((32.0, 35.0, 45), (56.0, 65.0, 30), (80.0, 38.0, 45))
        for hue in range(0, 360, step)
    ]
    return np.array(greys + rings)


def gabor_kernels() -> NDArray[np.float64]:
    """Even kernels of all orientations, then odd ones, (12, 9, 9); each sums to zero, absolute values sum to 1."""
    rows, columns = np.mgrid[-REACH : REACH + 1, -REACH : REACH + 1].astype(float)
    envelope = np.exp(-(rows**2 + columns**2) / (2 * ENVELOPE**2))
    kernels = []
    for wave in (np.cos, np.sin):
        for degrees in ORIENTATIONS:
            # Rows grow downwards; across the stripes is a quarter turn from along them.
            across = columns * np.sin(np.radians(degrees)) + rows * np.cos(np.radians(degrees))
            kernel = envelope * wave(2 * np.pi * across / WAVELENGTH)
            kernel -= envelope * kernel.sum() / envelope.sum()
            kernels.append(kernel / np.abs(kernel).sum())
    return np.array(kernels)


def column_names() -> list[str]:
    """What each column of the encoder stands for, such as "edge 8 px 90°, top left", in order."""
    colours = [f"colour L{c[0]:.0f} a{c[1]:.0f} b{c[2]:.0f}" for c in reference_colours()]
    names = _per_place(colours)
    for octave in range(OCTAVES):
        names += _per_place([f"edge {WAVELENGTH * 2**octave:.0f} px {degrees}°" for degrees in ORIENTATIONS])
    return names


def default_image_encoder(root: Path) -> Path:
    """Make the filter bank an encoder in the store at `root`, unless it is one already, and return its folder."""
    graph = build_graph()
    source = EncoderSource(loader="filter-bank", reference="filter-bank", fingerprint=fingerprints.of_bytes(graph))
    description = EncoderDescription(
        kind="image",
        name="filter-bank",
        width=len(column_names()),
        output="vectors",
        normalise="l2",
        source=source,
        image=ImageInput(
            input="pixels",
            resize="squash",
            resize_to=(SIDE, SIDE),
            filter="bilinear",
            crop_to=(SIDE, SIDE),
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            layout="NCHW",
        ),
    )
    return find_bundle(root, source) or write_bundle(root, description, graph, None)


def build_graph() -> bytes:
    """The ONNX graph: `pixels` (n, 3, 96, 96) sRGB in 0..1 to `vectors` (n, 290)."""
    g = GraphBuilder("pixels", (3, SIDE, SIDE))
    lab = _lab(g)
    colours = reference_colours() / SOFTNESS
    # Of -|x - c|² / 2σ² the softmax over c needs only x·c / σ² - |c|² / 2σ²: a 1 x 1 convolution.
    shares = _softmax(g, _pointwise(g, lab, colours / SOFTNESS, -(colours**2).sum(axis=1) / 2))
    colour_block = g.op("Sqrt", g.op("Concat", *_pooled(g, shares, SIDE), axis=1))

    level = g.op("Mul", g.op("Slice", lab, g.integers(0), g.integers(1), g.integers(1)), g.constant(0.01))
    kernels = g.constant(gabor_kernels()[:, None])
    pools: list[str] = []
    for octave in range(OCTAVES):
        if octave:
            level = g.op("AveragePool", level, kernel_shape=[2, 2], strides=[2, 2])
        padded = g.op("Pad", level, g.integers(0, 0, REACH, REACH, 0, 0, REACH, REACH), mode="reflect")
        response = g.op("Conv", padded, kernels)
        even, odd = g.split(response, 2, axis=1)
        magnitude = g.op("Sqrt", g.op("Add", g.op("Mul", even, even), g.op("Mul", odd, odd)))
        pools += _pooled(g, magnitude, SIDE >> octave)
    edges = g.op("Concat", *pools, axis=1)
    total = g.op("ReduceSum", edges, g.integers(1), keepdims=1)
    edge_block = g.op("Sqrt", g.op("Div", edges, g.op("Add", total, g.constant(STILLNESS))))

    each_place = g.constant(1 / np.sqrt(len(PLACES)))  # the shares of one place sum to 1
    vectors = g.op("Concat", g.op("Mul", colour_block, each_place), edge_block, axis=1)
    return g.finish(vectors, "vectors", len(column_names()))


def _lab(g: GraphBuilder) -> str:
    """Node for CIE L*a*b* of the input, (n, 3, 96, 96), by the sRGB and CIE 1976 formulas."""
    curved = g.op("Pow", g.op("Mul", g.op("Add", "pixels", g.constant(0.055)), g.constant(1 / 1.055)), g.constant(2.4))
    straight = g.op("Mul", "pixels", g.constant(1 / 12.92))
    linear = g.op("Where", g.op("Greater", "pixels", g.constant(0.04045)), curved, straight)
    to_white = _SRGB_TO_XYZ / _SRGB_TO_XYZ.sum(axis=1, keepdims=True)
    xyz = _pointwise(g, linear, to_white, np.zeros(3))
    root = g.op("Pow", g.op("Max", xyz, g.constant(1e-6)), g.constant(1 / 3))
    line = g.op("Add", g.op("Mul", xyz, g.constant(841 / 108)), g.constant(4 / 29))
    f = g.op("Where", g.op("Greater", xyz, g.constant((6 / 29) ** 3)), root, line)
    return _pointwise(g, f, np.array([[0, 116, 0], [500, -500, 0], [0, 200, -200]]), np.array([-16.0, 0, 0]))


def _pointwise(g: GraphBuilder, node: str, matrix: NDArray[np.float64], offset: NDArray[np.float64]) -> str:
    return g.op("Conv", node, g.constant(matrix[:, :, None, None]), g.constant(offset))


def _softmax(g: GraphBuilder, node: str) -> str:
    """Over the channels; ONNX Runtime's own operator takes four times as long over any axis but the last."""
    powers = g.op("Exp", g.op("Sub", node, g.op("ReduceMax", node, g.integers(1), keepdims=1)))
    return g.op("Div", powers, g.op("ReduceSum", powers, g.integers(1), keepdims=1))


def _pooled(g: GraphBuilder, node: str, side: int) -> list[str]:
    """Means over the whole, (n, C), and over the quarters, (n, 4C)."""
    half = [side // 2, side // 2]
    quarters = g.op("AveragePool", node, kernel_shape=half, strides=half)
    return [g.op("Flatten", pooled, axis=1) for pooled in (g.op("GlobalAveragePool", node), quarters)]


def _per_place(names: list[str]) -> list[str]:
    whole, *quarters = PLACES
    return [f"{name}, {whole}" for name in names] + [f"{name}, {place}" for name in names for place in quarters]
