"""Tells the person at the terminal where the service is, once it can answer."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import click

from model_store.errors import StoreError
from model_store.store import Store
from service.settings import Settings

PATIENCE_SECONDS = 300
PAUSE_SECONDS = 0.2


def announce_when_ready(settings: Settings) -> None:
    """Print the address and two calls that work, as soon as `/readyz` says so; waits beside the server."""
    threading.Thread(target=_announce, args=(settings,), daemon=True, name="announce").start()


def _announce(settings: Settings) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"http://{host}:{settings.port}"
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not _is_ready(address):
        if time.monotonic() > deadline:
            return
        time.sleep(PAUSE_SECONDS)
    try:
        snapshot = Store(settings.store).open(verify="size")
    except StoreError as error:
        click.echo(f"The store cannot be read: {error}", err=True)
        return
    user = urllib.parse.quote(snapshot.user_id(0) if snapshot.n_users else "anybody", safe="")
    click.echo(
        f"\nMAGNET answers on {address}\n\n"
        f"  curl '{address}/recommend/{user}?k=5'\n"
        f"  curl '{address}/explain/{user}'\n\n"
        f"Interface: {address}/docs    Ctrl-C ends it.\n"
    )


def _is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/readyz", timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
