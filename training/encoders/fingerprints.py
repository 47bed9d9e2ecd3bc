"""What a checkpoint is recognised by, so that the same one is not exported twice."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import torch

from model_store.files import sha256

EXPORT_VERSION: Final = 1
"""Raised when the same checkpoint would become another encoder: a changed export or another filter bank."""


def of_folder(folder: Path) -> str:
    """Over the names and contents of all files below `folder`."""
    digest = _start()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{sha256(file)}  {file.relative_to(folder).as_posix()}\n".encode())
    return digest.hexdigest()


def of_module(module: torch.nn.Module, description: str) -> str:
    """Over names and values of all parameters and buffers, and what else decides the result."""
    digest = _start()
    digest.update(description.encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def of_bytes(*contents: bytes) -> str:
    """Over contents held in memory, in order."""
    digest = _start()
    for content in contents:
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


def _start() -> hashlib._Hash:
    return hashlib.sha256(f"export {EXPORT_VERSION}\n".encode())
