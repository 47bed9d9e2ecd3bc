"""What a run was made with: versions, threads, processor. For the run directory only, never for a snapshot."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

_PACKAGES = ("magnet-rec", "torch", "numpy", "scipy", "faiss-cpu", "onnxruntime")


def environment() -> dict[str, str]:
    """Facts by name; no host names, no paths."""
    facts = {"Python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    facts |= {name: found for name in _PACKAGES if (found := _version(name))}
    facts |= {
        "processor": _processor(),
        "cores": str(os.cpu_count() or "unknown"),
        "threads": str(torch.get_num_threads()),
    }
    if torch.cuda.is_available():
        facts |= {"GPU": torch.cuda.get_device_name(), "CUDA": str(torch.version.cuda)}
    return facts


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    """The processor's name; Linux keeps it in a file, elsewhere Python knows as much as there is."""
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
