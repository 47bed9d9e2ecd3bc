"""Who may call: API keys, a separate admin key; probes and the console's static files are for everybody."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import AdminKeyRequired, KeyRequired
from service.problems import problem_response
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

    def is_known(self, key: str) -> bool:
        """Whether `key` opens ordinary calls; the admin key does too."""
        return _among(key, self.ordinary + self.admin)

    def is_admin(self, key: str) -> bool:
        """Whether `key` is an admin key."""
        return _among(key, self.admin)


class Access:
    """Refuses calls without a key where keys are configured, and admin calls without the admin key always."""

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        error = self._refusal(scope) if scope["type"] == "http" else None
        if error is None:
            await self._app(scope, receive, send)
        else:
            context = scope.get("magnet.request")
            await problem_response(error, context.request_id if context else "-")(scope, receive, send)

    def _refusal(self, scope: Scope) -> KeyRequired | AdminKeyRequired | None:
        key = presented(Headers(scope=scope))
        if scope["path"].startswith(ADMIN_PREFIX):
            return None if self._keys.is_admin(key) else AdminKeyRequired("expected the admin key")
        if not self._keys.ordinary or _is_open(scope["path"]) or self._keys.is_known(key):
            return None
        return KeyRequired("expected a valid key as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'")


def _is_open(path: str) -> bool:
    """Whether a call needs no key: probes, and the page in which a browser is given one. It holds no data."""
    return path in PROBES or path == CONSOLE or path.startswith(CONSOLE_PREFIX)


def presented(headers: Headers) -> str:
    """The key that a request carries; empty where it carries none."""
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    return credentials.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")


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


def _among(key: str, digests: tuple[bytes, ...]) -> bool:
    """Compares with every digest, found or not, so that the time says nothing about which one it is."""
    digest = _digest(key)
    return sum(hmac.compare_digest(digest, known) for known in digests) > 0
