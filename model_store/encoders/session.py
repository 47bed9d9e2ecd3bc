"""ONNX Runtime sessions, the only place that imports onnxruntime: reading and writing bundles needs none."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from model_store.errors import EncoderError

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
PROVIDER_OPTIONS = {CUDA: {"use_tf32": "0"}}
"""Products there are of full single precision: what a graph makes has to be what the trainer and the CPU make."""


class Session(Protocol):
    """The part of an ONNX Runtime session that is used here."""

    def run(self, output_names: list[str], inputs: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Run the graph."""

    def get_providers(self) -> list[str]:
        """The execution providers in use, the first choice first."""


def open_session(graph: Path | bytes, providers: Sequence[str] | None = None, threads: int = 1) -> Session:
    """Open a graph, a file or its content, for `threads` threads per run; raises EncoderError."""
    runtime = _runtime()
    chosen = list(providers) if providers is not None else [CPU]
    if absent := set(chosen) - set(runtime.get_available_providers()):
        raise EncoderError(
            f"expected the execution providers {sorted(absent)}, onnxruntime has {runtime.get_available_providers()}"
        )
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors only; its warnings are advice about shapes
    try:
        session: Session = runtime.InferenceSession(
            graph if isinstance(graph, bytes) else str(graph),
            options,
            providers=chosen,
            provider_options=[PROVIDER_OPTIONS.get(name, {}) for name in chosen],
        )
    except Exception as error:  # as in _run
        name = "the graph" if isinstance(graph, bytes) else str(graph)
        raise EncoderError(f"{name}: expected an ONNX graph that onnxruntime can run: {error}") from error
    return session


def fastest_providers() -> list[str]:
    """CUDA before the CPU where onnxruntime is built for it; it falls back by itself where there is no device."""
    return [CUDA, CPU] if CUDA in _runtime().get_available_providers() else [CPU]


def _runtime() -> Any:
    # ONNX Runtime's builds report home unless this is set before the import: nothing about users leaves the machine.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise EncoderError(
            "running content encoders needs onnxruntime: pip install 'magnet-rec[train]', [serve] or [serve-gpu]"
        ) from error


def available_cores() -> int:
    """Cores this process may use, which in a container are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
