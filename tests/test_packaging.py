"""What is installed for serving: no torch, nothing of the trainer, and a service that starts."""

import ast
import importlib.metadata
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support import layout

TRAINING_ONLY = {"torch", "transformers", "sentence-transformers", "onnx", "onnxscript", "tensorboard", "scipy"}


def closure(requirement: Requirement, seen: set[tuple[str, str]]) -> set[str]:
    """Names of all distributions that installing `requirement` brings, as far as they are installed here."""
    names: set[str] = {canonicalize_name(requirement.name)}
    try:
        needs = [Requirement(line) for line in importlib.metadata.requires(requirement.name) or []]
    except importlib.metadata.PackageNotFoundError:
        return names
    for extra in {"", *requirement.extras}:
        key = (canonicalize_name(requirement.name), extra)
        if key in seen:
            continue
        seen.add(key)
        for need in needs:
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                names |= closure(need, seen)
    return names


def test_serving_requires_nothing_of_the_trainer() -> None:
    required = closure(Requirement("magnet-rec[serve]"), set())
    assert {"fastapi", "faiss-cpu", "numpy"} <= required
    assert not required & TRAINING_ONLY


def test_the_closure_would_show_torch() -> None:
    assert "torch" in closure(Requirement("magnet-rec[train]"), set())


def imported(*packages: str) -> set[str]:
    """Top-level names of all modules that the source of `packages` imports anywhere, but the standard library's."""
    names: set[str] = set()
    for package in packages:
        for file in (layout.ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Import):
                    names |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"__future__", "model_store", "training", "service"}


@pytest.mark.parametrize(
    ("packages", "extra", "offered"),
    [
        (["model_store"], "", set()),
        (["model_store", "service"], "serve,client,tracing", set()),
        (["model_store", "training"], "train", {"timm", "torchvision"}),  # encoders that a user may bring
    ],
)
def test_what_is_imported_is_installed(packages: list[str], extra: str, offered: set[str]) -> None:
    """Every imported module comes with the extra; `offered` ones are imported only where they are installed."""
    required = closure(Requirement(f"magnet-rec[{extra}]" if extra else "magnet-rec"), set())
    owners = importlib.metadata.packages_distributions()
    unmet = {
        name
        for name in imported(*packages) - offered
        if not required & {canonicalize_name(owner) for owner in owners.get(name, [])}
    }
    assert unmet == set()


@pytest.fixture(scope="module")
def serving_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new virtual environment with `.[serve]` alone, installed from the committed files; its bin directory."""
    source = tmp_path_factory.mktemp("source")
    for file in layout.tracked():
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(layout.ROOT / file, source / file)
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    subprocess.run([environment / "bin" / "python", "-m", "pip", "install", "--quiet", f"{source}[serve]"], check=True)
    return environment / "bin"


@pytest.mark.slow
def test_installing_for_serving_brings_no_torch(serving_environment: Path) -> None:
    listing = subprocess.run(
        [serving_environment / "python", "-m", "pip", "list", "--format", "json"], capture_output=True, check=True
    )
    installed = {canonicalize_name(entry["name"]) for entry in json.loads(listing.stdout)}
    assert "magnet-rec" in installed
    assert not installed & TRAINING_ONLY


@pytest.mark.slow
@pytest.mark.parametrize("program", ["magnet-serve", "magnet-store"])
def test_commands_say_how_they_are_used(serving_environment: Path, program: str) -> None:
    shown = subprocess.run([serving_environment / program, "--help"], capture_output=True, text=True, check=True)
    assert "Usage" in shown.stdout


@pytest.mark.slow
def test_the_service_starts_before_there_is_a_snapshot(serving_environment: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [serving_environment / "magnet-serve", "--store", tmp_path / "store", "--port", str(port)], cwd=tmp_path
    )
    try:
        assert status(f"http://127.0.0.1:{port}/livez", server) == 200
        assert status(f"http://127.0.0.1:{port}/readyz", server) == 503
    finally:
        server.terminate()
    assert server.wait(timeout=20) == 0


def status(url: str, server: subprocess.Popen[bytes], patience: float = 30) -> int:
    """The HTTP status of `url`, asked until the server listens. Raises `AssertionError` where it stops or is mute."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        assert server.poll() is None, f"the server stopped with {server.returncode}"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"no answer from {url} within {patience} s")
