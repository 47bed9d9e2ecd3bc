"""Where measured results are kept between a run and the page that is made of them."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from model_store.version import VERSION

FOLDER = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """What a run was made on."""
    return {
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "version": VERSION,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }


def write_result(name: str, result: dict[str, Any]) -> None:
    """Keep the newest result of this name."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.json").write_text(json.dumps(result, indent=2, sort_keys=True) + "\n")


def read_result(name: str) -> dict[str, Any] | None:
    """The newest result of this name, None where there is none."""
    file = FOLDER / f"{name}.json"
    return json.loads(file.read_text()) if file.exists() else None
