"""The default encoders in one store for the whole test session, and small pictures to feed them."""

import atexit
import io
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from model_store.encoders import EncoderDescription, EncoderSource, ImageInput
from training.encoders.filter_bank import default_image_encoder
from training.encoders.graph_builder import GraphBuilder
from training.encoders.sentences import default_text_encoder


@cache
def encoder_store() -> Path:
    """A store for encoders, removed when the tests end; tests may add to it."""
    folder = tempfile.TemporaryDirectory(prefix="encoders-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


@cache
def minilm() -> Path:
    """The default text encoder's bundle; exporting it takes some fifteen seconds, once."""
    return default_text_encoder(encoder_store())


@cache
def filter_bank() -> Path:
    """The default image encoder's bundle."""
    return default_image_encoder(encoder_store())


def picture(pixels: ArrayLike, form: str = "PNG", mode: str | None = None, **options: Any) -> bytes:
    """File content of (H, W), (H, W, 3) or (H, W, 4) values in 0..255."""
    image = Image.fromarray(np.asarray(pixels).astype(np.uint8))
    content = io.BytesIO()
    (image.convert(mode) if mode else image).save(content, form, **options)
    return content.getvalue()


def plain(red: int, green: int, blue: int, height: int = 40, width: int = 40) -> NDArray[np.uint8]:
    """Pixels (height, width, 3) of one colour."""
    return np.full((height, width, 3), (red, green, blue), np.uint8)


def mean_colour(**changes: Any) -> tuple[EncoderDescription, bytes]:
    """The smallest image encoder: the three channel means of the middle 8 x 8 of 16 x 16 pixels, not normalised."""
    image = ImageInput(
        input="pixels",
        resize="squash",
        resize_to=(16, 16),
        filter="bilinear",
        crop_to=(8, 8),
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        layout="NCHW",
    )
    g = GraphBuilder("pixels", (3, None, None))
    graph = g.finish(g.op("Flatten", g.op("GlobalAveragePool", "pixels")), "vectors", 3)
    description = EncoderDescription(
        kind="image",
        name="mean-colour",
        width=3,
        output="vectors",
        normalise="none",
        source=EncoderSource(loader="onnx", reference="mean-colour.onnx", fingerprint="0" * 64),
        image=image.model_copy(update=changes),
    )
    return description, graph
