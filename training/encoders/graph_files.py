"""Image encoders from a local .onnx file, whatever wrote it, with the preprocessing in a .json of the same name."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from pydantic import BaseModel, ConfigDict, ValidationError

from model_store.encoders import EncoderDescription, EncoderSource, ImageInput, find_bundle, write_bundle
from model_store.encoders.session import open_session
from model_store.errors import EncoderError
from training.encoders import fingerprints
from training.encoders.onnx_export import to_bytes
from training.errors import EncoderImportError


class GraphFile(BaseModel):
    """Content of the .json beside the graph; `image` is what encoder.json will say of the input."""

    model_config = ConfigDict(extra="forbid")

    output: str
    """Name of the graph's output, (n, width) float32."""
    normalise: Literal["l2", "none"] = "l2"
    image: ImageInput


def import_graph(root: Path, file: Path) -> Path:
    """Make the graph in `file` an encoder in the store at `root` and return its folder.

    Its first axis must be free, and a row of its output must not depend on the others. Raises EncoderImportError.
    """
    beside = file.with_suffix(".json")
    try:
        text = beside.read_bytes()
        spec = GraphFile.model_validate_json(text)
        graph = to_bytes(onnx.load(file))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the document"
        raise EncoderImportError(f"{beside}: {place}: {first['msg']}"[:500]) from error
    except Exception as error:  # protobuf's error is no OSError
        raise EncoderImportError(f"{file}: expected an ONNX graph and its {beside.name}: {error}"[:500]) from error
    source = EncoderSource(loader="onnx", reference=file.name, fingerprint=fingerprints.of_bytes(graph, text))
    if (known := find_bundle(root, source)) is not None:
        return known
    description = EncoderDescription(
        kind="image",
        name=file.stem,
        width=_width(file, graph, spec),
        output=spec.output,
        normalise=spec.normalise,
        source=source,
        image=spec.image,
    )
    return write_bundle(root, description, graph, None)


def _width(file: Path, graph: bytes, spec: GraphFile) -> int:
    """Width of the output, after the graph ran on two pictures together and one by one with the same result."""
    height, width = spec.image.crop_to
    shape = (2, 3, height, width) if spec.image.layout == "NCHW" else (2, height, width, 3)
    pixels = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    try:
        session = open_session(graph)
        runs = [session.run([spec.output], {spec.image.input: part})[0] for part in (pixels, pixels[:1], pixels[1:])]
    except EncoderError as error:
        raise EncoderImportError(f"{file}: {error}") from error
    except Exception as error:  # ONNX Runtime's own classes share no base but this
        raise EncoderImportError(f"{file}: the graph does not run as its .json says: {error}"[:500]) from error
    together = runs[0]
    if together.ndim != 2 or len(together) != 2 or together.dtype != np.float32:
        raise EncoderImportError(f"{file}: expected float32 (n, width), found {together.dtype} {together.shape}")
    if not np.allclose(together, np.concatenate(runs[1:]), atol=1e-4, rtol=1e-4):
        raise EncoderImportError(f"{file}: expected rows independent of their batch, found that they differ")
    return int(together.shape[1])
