"""Looks through every committed file for what looks like a key or password: `make secrets`.

What was looked at and found harmless stands in `.secrets.baseline`; `--accept` rewrites it with what is found now.
Known finds are told by their hash, so moving a line changes nothing.
"""

from __future__ import annotations

import json
import sys

from detect_secrets.core.secrets_collection import SecretsCollection
from detect_secrets.settings import default_settings

from tests.support.layout import ROOT, tracked

BASELINE = ".secrets.baseline"
RESULTS, HASH = "training/results/rows/", "Hex High Entropy String"
"""Rows of results name content encoders by their hashes."""
IN_PROSE = "Secret Keyword"
"""A word such as "password" followed by something: in prose that says nothing."""


def main() -> int:
    """Name what is new; the number of new finds decides how the process ends."""
    found = SecretsCollection(root=str(ROOT))
    with default_settings():
        for path in tracked():
            if path.name != BASELINE:
                found.scan_file(str(path))
        if "--accept" in sys.argv[1:]:
            content = {"results": listed(found)}
            (ROOT / BASELINE).write_text(json.dumps(content, indent=2) + "\n")
            return 0
    accepted = json.loads((ROOT / BASELINE).read_text())["results"]
    known = {(file, entry["hashed_secret"]) for file, entries in accepted.items() for entry in entries}
    new = [(file, secret) for file, secret in found if (file, secret.secret_hash) not in known]
    new = [(file, secret) for file, secret in new if not (file.endswith(".md") and secret.type == IN_PROSE)]
    new = [(file, secret) for file, secret in new if not (file.startswith(RESULTS) and secret.type == HASH)]
    for file, secret in new:
        print(f"{file}:{secret.line_number}: looks like a secret ({secret.type})", file=sys.stderr)
    return min(len(new), 1)


def listed(found: SecretsCollection) -> dict[str, list[dict[str, str]]]:
    """By file, what kind of find each is, and its hash: neither the secret nor where the checkout is."""
    files: dict[str, list[dict[str, str]]] = {}
    for file, secret in found:
        files.setdefault(file, []).append({"type": secret.type, "hashed_secret": secret.secret_hash})
    return files


if __name__ == "__main__":
    sys.exit(main())
