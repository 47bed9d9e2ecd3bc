"""From what a user writes after --text, --image or `encoder import` to an encoder in the store.

- `default`: MiniLM-L6 for texts, the filter bank for pictures;
- the hash of an encoder in the store, or at least its first eight digits;
- `timm:NAME`, `torchvision:NAME`, either with `@FILE` for local weights;
- a local `.onnx` file with a `.json` of the same name: a picture encoder;
- anything else, a folder or a name on the model hub: a sentence-transformers checkpoint.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from model_store.encoders import bundle_path, list_bundles, read_description
from model_store.encoders.description import Kind
from training.encoders.filter_bank import default_image_encoder
from training.encoders.graph_files import import_graph
from training.encoders.sentences import default_text_encoder, import_sentence_encoder
from training.encoders.vision import import_timm, import_torchvision
from training.errors import EncoderImportError

DEFAULT = "default"
FILTER_BANK = "filter-bank"

_VISION: dict[str, Callable[[Path, str, Path | None], Path]] = {"timm": import_timm, "torchvision": import_torchvision}
_HASH = re.compile(r"[0-9a-f]{8,64}")


def encoder_for(root: Path, reference: str, kind: Kind) -> Path:
    """Folder of the encoder of this kind that `reference` means, made if need be; raises EncoderImportError."""
    if reference == DEFAULT:
        return default_text_encoder(root) if kind == "text" else default_image_encoder(root)
    path = import_encoder(root, reference)
    if (found := read_description(path).kind) != kind:
        raise EncoderImportError(f"{reference}: expected an encoder of kind {kind!r}, found one of kind {found!r}")
    return path


def import_encoder(root: Path, reference: str) -> Path:
    """Folder of the encoder that `reference` means, made if it is not in the store; raises EncoderImportError."""
    if (known := _in_store(root, reference)) is not None:
        return known
    if reference == FILTER_BANK:
        return default_image_encoder(root)
    scheme, colon, rest = reference.partition(":")
    if colon and scheme in _VISION:
        name, _, weights = rest.partition("@")
        if weights and not Path(weights).is_file():
            raise EncoderImportError(f"{reference}: expected a file of weights, found none at {weights}")
        return _VISION[scheme](root, name, Path(weights) if weights else None)
    if reference.endswith(".onnx"):
        return import_graph(root, Path(reference))
    return import_sentence_encoder(root, reference)


def _in_store(root: Path, reference: str) -> Path | None:
    if _HASH.fullmatch(reference) is None:
        return None
    matching = [encoder_hash for encoder_hash, _ in list_bundles(root) if encoder_hash.startswith(reference)]
    if len(matching) != 1:
        raise EncoderImportError(f"expected one encoder in {root} whose hash begins with {reference}, found {matching}")
    return bundle_path(root, matching[0])
