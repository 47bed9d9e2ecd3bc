"""What ONNX Runtime does beside running graphs."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from model_store.encoders.session import CPU, CUDA, fastest_providers, open_session

OPEN = """
from model_store.encoders.session import open_session
from model_store.errors import EncoderError
try:
    open_session(b"no graph")
except EncoderError:
    pass
"""


def test_cuda_comes_first_where_the_runtime_is_built_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert CPU in fastest_providers()  # which also imports the runtime as everybody should
    offered = ["TensorrtExecutionProvider", CUDA, CPU]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: offered)
    assert fastest_providers() == [CUDA, CPU]
    offered.remove(CUDA)
    assert fastest_providers() == [CPU]


def test_cuda_multiplies_in_single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its default keeps 10 bits of each factor, and users encoded so would be refused where the CPU is the judge."""
    given: dict[str, Any] = {}
    fastest_providers()
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr("onnxruntime.InferenceSession", lambda *_, **options: given.update(options))
    open_session(b"", [CUDA, CPU])
    assert dict(zip(given["providers"], given["provider_options"], strict=True)) == {CUDA: {"use_tf32": "0"}, CPU: {}}


def test_opening_a_session_reports_nothing_to_anybody(tmp_path: Path) -> None:
    """Its telemetry, on by default, begins with a device id and a queue of events in the user's cache directory."""
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", OPEN], env=environment, check=True)
    assert list(tmp_path.iterdir()) == []
