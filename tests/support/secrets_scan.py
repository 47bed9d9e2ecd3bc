"""Looks through every committed file for what looks like a key or password: `make secrets`.

What was looked at and found harmless stands in `.secrets.baseline`; `--accept` rewrites it with what is found now.
Known finds are told by their hash, so moving a line changes nothing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable

from detect_secrets.core.potential_secret import PotentialSecret
from detect_secrets.core.secrets_collection import SecretsCollection
from detect_secrets.settings import default_settings

from tests.support.layout import ROOT, tracked

BASELINE = ".secrets.baseline"
RESULTS, HASH = "training/results/rows/", "Hex High Entropy String"
"""Rows of results name content encoders by their hashes."""
IN_PROSE = "Secret Keyword"
"""A word such as "password" followed by something: in prose that says nothing."""


def main() -> int:
    """Name what is new; whether there was any decides how the process ends."""
    found = SecretsCollection(root=str(ROOT))
    with default_settings():
        for path in tracked():
            if path.name != BASELINE:
                found.scan_file(str(path))
    finds = [(file, secret) for file, secret in found if not harmless(file, secret.type)]
    if "--accept" in sys.argv[1:]:
        (ROOT / BASELINE).write_text(json.dumps({"results": listed(finds)}, indent=2) + "\n")
        return 0
    accepted = json.loads((ROOT / BASELINE).read_text())["results"]
    known = {(file, entry["hashed_secret"]) for file, entries in accepted.items() for entry in entries}
    new = [(file, secret) for file, secret in finds if (file, secret.secret_hash) not in known]
    for file, secret in new:
        print(f"{file}:{secret.line_number}: looks like a secret ({secret.type})", file=sys.stderr)
    return min(len(new), 1)


def harmless(file: str, kind: str) -> bool:
    """Whether a find of this kind says nothing in this file."""
    return (file.endswith(".md") and kind == IN_PROSE) or (file.startswith(RESULTS) and kind == HASH)


def listed(finds: Iterable[tuple[str, PotentialSecret]]) -> dict[str, list[dict[str, str]]]:
    """By file, what kind of find each is, and its hash: neither the secret nor where the checkout is."""
    files: dict[str, list[dict[str, str]]] = {}
    for file, secret in finds:
        files.setdefault(file, []).append({"type": secret.type, "hashed_secret": secret.secret_hash})
    return files


if __name__ == "__main__":
    sys.exit(main())
