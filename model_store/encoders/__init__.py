"""Content encoders that trainer and service share: ONNX graphs with their preprocessing described beside them."""

from model_store.encoders.bundle import (
    bundle_path,
    find_bundle,
    list_bundles,
    read_description,
    write_bundle,
)
from model_store.encoders.description import EncoderDescription, EncoderSource, ImageInput, TextInput
from model_store.encoders.runtime import ContentEncoder

__all__ = [
    "ContentEncoder",
    "EncoderDescription",
    "EncoderSource",
    "ImageInput",
    "TextInput",
    "bundle_path",
    "find_bundle",
    "list_bundles",
    "read_description",
    "write_bundle",
]
