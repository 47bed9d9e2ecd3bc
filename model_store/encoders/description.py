"""What `encoder.json` says: all that turns a text or a picture into the input of `encoder.onnx`, in any language."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

CURRENT_VERSION: Final = 1
"""Version of `encoder.json` that is written, and the only one so far that is read."""

Kind: TypeAlias = Literal["text", "image"]

Positive = Annotated[int, Field(gt=0)]
Side = Annotated[int, Field(gt=0, le=4096)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TextInput(_Part):
    """From a text to the integer inputs of the graph, each (n, tokens) int64."""

    prefix: str = ""
    """Put before every text, as some checkpoints were trained with."""
    max_characters: Positive
    """The text, prefix included, is cut to this many Unicode code points before it is tokenised, to bound the work."""
    max_tokens: Positive
    """Cut to this many tokens, special ones included, as tokenizer.json's own truncation does."""
    pad_token_id: Annotated[int, Field(ge=0)]
    """Fills `input_ids` on the right up to the longest text of a batch; the other inputs are filled with 0."""
    inputs: tuple[Literal["input_ids", "attention_mask", "token_type_ids"], ...]
    """Names of the graph's inputs."""


class ImageInput(_Part):
    """From a picture to the one input of the graph, float32.

    In order: decode to upright 8-bit RGB with transparency over white; resize; cut `crop_to` out of the middle, its
    upper left corner at round((resized - crop) / 2); divide by 255; subtract `mean` and divide by `std` per channel.
    Resizing is separable, the filter's support widened by the factor when shrinking (what Pillow does, and torch calls
    antialias), and rounds to 8 bits.
    """

    input: str
    """Name of the graph's input."""
    resize: Literal["squash", "cover", "contain"]
    """squash: to `resize_to` exactly. cover: keep the ratio, the smallest size that covers `resize_to`, the longer side
    rounded down, after cutting what exceeds 16 times the shorter side from both ends. contain: keep the ratio, the
    largest size within `resize_to`, the shorter side rounded down but at least 1, centred on white."""
    resize_to: tuple[Side, Side]
    """Height and width in pixels."""
    filter: Literal["bilinear", "bicubic", "lanczos"]
    """Triangle; cubic with a = -0.5; Lanczos with three lobes."""
    crop_to: tuple[Side, Side]
    """Height and width in pixels, at most `resize_to`."""
    mean: tuple[float, float, float]
    std: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]
    layout: Literal["NCHW", "NHWC"]

    @model_validator(mode="after")
    def _crop_fits(self) -> Self:
        if self.crop_to[0] > self.resize_to[0] or self.crop_to[1] > self.resize_to[1]:
            raise ValueError(f"crop_to {self.crop_to} must fit into resize_to {self.resize_to}")
        return self


class EncoderSource(_Part):
    """Where the graph came from, so that it is not made twice."""

    loader: str
    """"sentence-transformers", "timm", "torchvision", "onnx", "torch-export" or "filter-bank"."""
    reference: str
    """The checkpoint's name; of a local file or folder, its last component only."""
    fingerprint: str
    """SHA-256, hexadecimal, over the checkpoint as the loader read it."""


class EncoderDescription(_Part):
    """The whole of `encoder.json`; exactly one of `text` and `image` is there, the one `kind` names."""

    format_version: Literal[1] = CURRENT_VERSION
    kind: Kind
    name: Annotated[str, Field(min_length=1, max_length=200)]
    """For people; the hash is what identifies an encoder."""
    width: Positive
    """Columns of the graph's output."""
    output: str
    """Name of the graph's output, (n, width) float32."""
    normalise: Literal["l2", "none"]
    """What is done to each row of the output: divided by its Euclidean norm, or nothing."""
    source: EncoderSource
    text: TextInput | None = None
    image: ImageInput | None = None

    @model_validator(mode="after")
    def _one_input(self) -> Self:
        if (self.text is not None, self.image is not None) != (self.kind == "text", self.kind == "image"):
            raise ValueError(f"an encoder of kind {self.kind!r} describes its {self.kind} input and no other")
        return self
