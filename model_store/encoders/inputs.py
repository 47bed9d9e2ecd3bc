"""From texts and pictures to the arrays an encoder's graph takes, exactly as its description says.

n rows, T tokens of the longest row, H x W pixels after the crop.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Encoding, Tokenizer

from model_store.encoders.description import ImageInput, TextInput
from model_store.errors import EncoderError
from model_store.pictures import WHITE, decode_picture

MAX_RATIO: Final = 16
"""A picture longer than this many times its shorter side loses its ends before it is enlarged to cover a square."""

_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def load_tokenizer(path: Path, spec: TextInput) -> Tokenizer:
    """Read tokenizer.json, set to cut at `spec.max_tokens` and not to pad; raises EncoderError."""
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises the bare class
        raise EncoderError(f"{path}: expected a tokenizer: {error}") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(spec.max_tokens)
    return tokenizer


def tokenise(texts: Sequence[str], tokenizer: Tokenizer, spec: TextInput) -> list[Encoding]:
    """Cut and tokenise; half a surrogate pair, which UTF-8 cannot say, counts as a question mark."""
    cut = [(spec.prefix + text)[: spec.max_characters] for text in texts]
    return tokenizer.encode_batch([text.encode("utf-8", "replace").decode("utf-8") for text in cut])


def pad(encodings: Sequence[Encoding], spec: TextInput) -> dict[str, NDArray[np.int64]]:
    """The graph's inputs, each (n, T), padded on the right."""
    width = max(len(encoding.ids) for encoding in encodings)
    arrays: dict[str, NDArray[np.int64]] = {name: np.zeros((len(encodings), width), np.int64) for name in spec.inputs}
    if "input_ids" in arrays:
        arrays["input_ids"].fill(spec.pad_token_id)
    for row, encoding in enumerate(encodings):
        values = {
            "input_ids": encoding.ids,
            "attention_mask": encoding.attention_mask,
            "token_type_ids": encoding.type_ids,
        }
        for name, array in arrays.items():
            array[row, : len(encoding.ids)] = values[name]
    return arrays


def picture_input(source: Path | bytes, spec: ImageInput) -> NDArray[np.float32]:
    """One picture as (3, H, W) or (H, W, 3), as the layout says; raises PictureError."""
    image = _crop(_resize(decode_picture(source), spec), spec.crop_to)
    mean, std = np.array([spec.mean, spec.std], np.float32)
    pixels: NDArray[np.float32] = (np.asarray(image, np.float32) / np.float32(255) - mean) / std
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)) if spec.layout == "NCHW" else pixels


def _resize(image: Image.Image, spec: ImageInput) -> Image.Image:
    height, width = spec.resize_to
    how = _FILTERS[spec.filter]
    if spec.resize == "squash":
        return image.resize((width, height), how)
    if spec.resize == "cover":
        image = _crop(image, (MAX_RATIO * min(image.size), MAX_RATIO * min(image.size)))
        if image.width * height >= image.height * width:
            return image.resize((image.width * height // image.height, height), how)
        return image.resize((width, image.height * width // image.width), how)
    if image.width * height >= image.height * width:
        size = (width, max(1, image.height * width // image.width))
    else:
        size = (max(1, image.width * height // image.height), height)
    canvas = Image.new("RGB", (width, height), WHITE)
    canvas.paste(image.resize(size, how), (round((width - size[0]) / 2), round((height - size[1]) / 2)))
    return canvas


def _crop(image: Image.Image, limit: tuple[int, int]) -> Image.Image:
    """Cut at most `limit` (height, width) out of the middle."""
    height, width = min(limit[0], image.height), min(limit[1], image.width)
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))
