"""Who may call: API keys, a separate admin key; probes and the console's static files are for everybody."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr
from starlette.types import Scope

from service.errors import AdminKeyRequired, KeyRequired
from service.settings import Settings

PROBES = frozenset({"/livez", "/readyz"})
ADMIN_PREFIX = "/admin/"
CONSOLE = "/"
CONSOLE_PREFIX = "/console/"


@dataclass(frozen=True)
class Keys:
    """Digests of the keys, so that comparing takes the same time whatever is presented and nothing can print a key."""

    ordinary: tuple[bytes, ...]
    admin: tuple[bytes, ...]

    @classmethod
    def read(cls, settings: Settings) -> Keys:
        """The configured keys. Raises `ValueError` naming a file that cannot be read or holds no key."""
        return cls(
            _digests(settings.api_keys, settings.api_keys_file),
            _digests(settings.admin_key, settings.admin_key_file),
        )

    def check(self, path: str, caller: bytes) -> None:
        """Raises `KeyRequired` or `AdminKeyRequired` where who presented the key of this digest may not call `path`.

        Admin calls take the admin key always, all others a key where keys are configured; the admin key opens them too.
        """
        if path.startswith(ADMIN_PREFIX):
            if not _among(caller, self.admin):
                raise AdminKeyRequired("this is not the admin key" if caller else "expected the admin key, found none")
        elif self.ordinary and not _is_open(path) and not _among(caller, self.ordinary + self.admin):
            raise KeyRequired("expected a valid key as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'")

    def known(self, caller: bytes) -> bytes:
        """The digest where it is a configured key's, empty otherwise: callers cannot make up who they are."""
        return caller if _among(caller, self.ordinary + self.admin) else b""


def _is_open(path: str) -> bool:
    """Whether a call needs no key: probes, and the page in which a browser is given one. It holds no data."""
    return path in PROBES or path == CONSOLE or path.startswith(CONSOLE_PREFIX)


def caller_of(scope: Scope) -> bytes:
    """The digest of what a request carries as its key, valid or not; empty where it carries none."""
    bearer: bytes | None = None
    plain = b""
    for name, value in reversed(scope["headers"]):  # of a repeated header the first counts
        if name == b"authorization":
            scheme, _, credentials = value.partition(b" ")
            bearer = credentials.strip() if scheme.lower() == b"bearer" else None
        elif name == b"x-api-key":
            plain = value
    key = plain if bearer is None else bearer
    return hashlib.sha256(key).digest() if key else b""


def _digests(given: SecretStr | None, file: Path | None) -> tuple[bytes, ...]:
    """Digests of the keys in a setting (separated by commas) and in a file (one per line)."""
    keys = given.get_secret_value().split(",") if given else []
    if file is not None:
        try:
            keys += file.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{file}: expected a readable file with one key per line; {error}") from error
    found = tuple(_digest(key.strip()) for key in keys if key.strip())
    if not found and (given is not None or file is not None):
        raise ValueError(f"expected at least one key in {file or 'the setting'}, found none")
    return found


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _among(caller: bytes, digests: tuple[bytes, ...]) -> bool:
    """Compares with every digest, found or not, so that the time says nothing about which one it is."""
    return sum([hmac.compare_digest(caller, known) for known in digests]) > 0
