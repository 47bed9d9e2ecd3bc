"""From a torch module to an ONNX graph that says the same, and says nothing about the machine it was made on."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import onnx
import torch

from model_store.encoders.session import open_session
from training.errors import EncoderImportError

OPSET: Final = 18
IR_VERSION: Final = 10
"""The newest that onnxruntime 1.20 reads."""

OUTPUT: Final = "vectors"
TOLERANCE: Final = 1e-4
"""Largest difference from torch that is accepted, for outputs of about unit scale."""

Inputs = tuple[torch.Tensor, ...]


def export_module(
    module: torch.nn.Module,
    examples: Sequence[Inputs],
    names: Sequence[str],
    dynamic: Sequence[dict[int, torch.export.Dim]],
) -> tuple[bytes, int]:
    """Export `module` (already in eval mode) and return the graph and the width of its output, (n, width) float32.

    `names` and `dynamic` axes belong to the inputs in order; the first of the `examples` is traced, and all are run
    through torch and ONNX Runtime, which must agree within TOLERANCE. Raises EncoderImportError.
    """
    try:
        with quiet_exporter(), torch.no_grad():
            program = torch.onnx.export(
                module,
                examples[0],
                input_names=list(names),
                output_names=[OUTPUT],
                dynamic_shapes=tuple(dynamic),
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # the tracer raises whatever the model's own code does under it
        raise EncoderImportError(f"torch cannot export this model: {_first_line(error.__cause__ or error)}") from error
    if program is None:
        raise EncoderImportError("torch exported nothing; torch 2.6 or newer is needed")
    graph = to_bytes(program.model_proto)
    return graph, check_parity(module, graph, examples, names)


def check_parity(module: torch.nn.Module, graph: bytes, examples: Sequence[Inputs], names: Sequence[str]) -> int:
    """Width of the output, after torch and ONNX Runtime agreed on every example; raises EncoderImportError."""
    session = open_session(graph)
    width = 0
    for example in examples:
        with torch.no_grad():
            expected = module(*example).float().numpy()
        found = session.run([OUTPUT], {name: value.numpy() for name, value in zip(names, example, strict=True)})[0]
        if expected.ndim != 2 or found.shape != expected.shape:
            raise EncoderImportError(f"expected one vector per row, found {expected.shape} and as ONNX {found.shape}")
        difference = float(np.abs(found - expected).max())
        if not difference <= TOLERANCE * max(1.0, float(np.abs(expected).max())):
            raise EncoderImportError(f"expected the exported graph within {TOLERANCE:g} of torch, found {difference:g}")
        width = expected.shape[1]
    return width


def to_bytes(model: onnx.ModelProto) -> bytes:
    """Serialise without what exporters leave for people: traces with paths of this machine, names of modules."""
    graph = model.graph
    for holder in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        holder.ClearField("metadata_props")
        holder.ClearField("doc_string")
    graph.ClearField("value_info")
    model.ir_version = min(model.ir_version, IR_VERSION)
    try:
        return bytes(model.SerializeToString(deterministic=True))
    except Exception as error:  # protobuf's limit of two gigabytes
        raise EncoderImportError(f"the graph cannot be one file: {_first_line(error)}") from error


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Keep the exporter's advice to its own developers from the user."""
    logger: Any = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]
