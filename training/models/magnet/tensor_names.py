"""Names of the tensors of one modality within a torch module."""

from __future__ import annotations


def tensor_name(kind: str, modality: str) -> str:
    """`kind` keeps it apart from a module's attributes; dots separate modules, and no modality's name has a colon."""
    return f"{kind}_{modality}".replace(".", ":")
