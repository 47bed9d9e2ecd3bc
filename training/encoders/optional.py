"""Libraries that only some encoders need, imported when such an encoder is asked for."""

from __future__ import annotations

import importlib
from typing import Any

from training.errors import EncoderImportError


def load_module(name: str, install: str) -> Any:
    """Import a module; raises EncoderImportError that says how to `install` it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise EncoderImportError(
            f"expected the module {name}, which is not usable here ({error}); {install}"
        ) from error
