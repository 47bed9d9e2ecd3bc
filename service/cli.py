"""`magnet-serve`: the service on a port."""

from __future__ import annotations

import importlib.metadata
import os
import signal
import sys
from contextlib import nullcontext
from pathlib import Path

import click
import uvicorn
from pydantic import ValidationError

from model_store.errors import StoreError
from model_store.version import VERSION
from service.access import Keys
from service.announce import announce_when_ready
from service.errors import ServiceError
from service.event_export import export_to
from service.logs import configuration
from service.settings import Settings
from service.telemetry import shared_among_workers
from service.tracing import check_tracing

DRAIN_SECONDS = 20
START_SECONDS = 60
"""A worker that does not answer its supervisor for this long is replaced; on a busy machine importing takes a while."""
RIVALS = (("faiss-cpu", "faiss-gpu"), ("onnxruntime", "onnxruntime-gpu"))


@click.group(invoke_without_command=True, context_settings={"show_default": True})
@click.option(
    "--store", type=click.Path(file_okay=False, path_type=Path), help="The store whose current snapshot is served."
)
@click.option("--host", help="Address to bind; anything but loopback needs API keys.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to bind.")
@click.option("--workers", type=click.IntRange(1, 256), help="Worker processes.")
@click.option("--announce", is_flag=True, help="Once ready, print the address and two calls to try.")
@click.version_option(VERSION)
@click.pass_context
def main(context: click.Context, /, announce: bool, **options: object) -> None:
    """Serve the store's current snapshot over HTTP.

    Every option is also a setting of the same name (MAGNET_STORE, MAGNET_PORT …), and there are more settings than
    options: the README lists them.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if context.invoked_subcommand is not None:
        context.obj = given
        return
    settings = _settings(given)
    if announce and settings.port == 0:
        raise click.UsageError("expected a --port to --announce, found 0: which one it became stands in the log alone")
    try:
        Keys.read(settings)
        check_tracing(settings)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    refuse_rival_packages()
    if announce:
        announce_when_ready(settings)
    # Workers are new processes that build their settings from the environment.
    os.environ.update({f"MAGNET_{name.upper()}": str(value) for name, value in given.items()})
    # uvicorn drains, then sends itself the signal again: what it asked for was done, so the end is a good one.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with shared_among_workers() if settings.workers > 1 else nullcontext():
        uvicorn.run(
            "service.app:create_app",
            factory=True,
            host=settings.host,
            port=settings.port,
            workers=settings.workers,
            access_log=False,
            log_config=configuration(settings.log_level),
            server_header=False,
            timeout_graceful_shutdown=DRAIN_SECONDS,
            timeout_worker_healthcheck=START_SECONDS,
        )


@main.command()
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="File to write, whole or not at all."
)
@click.option("--store", type=click.Path(file_okay=False, path_type=Path), help="The store that the service serves.")
@click.pass_obj
def export_events(given: dict[str, object], out: Path, store: Path | None) -> None:
    """Write every event and forgotten user of the state, in the order of acceptance, for `magnet-train run --events`.

    From Redis where MAGNET_REDIS_URL names one, otherwise from the embedded state; the service may be running.
    """
    settings = _settings(given if store is None else given | {"store": store})
    try:
        events, forgotten = export_to(settings, out)
    except (ServiceError, StoreError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{events} events, {forgotten} forgotten users: {out}")


def _settings(given: dict[str, object]) -> Settings:
    try:
        # what a command line gives is checked by the call itself, which no checker can see
        return Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, entry['loc'])) or 'settings'}: {entry['msg']}" for entry in error.errors()]
        raise click.ClickException("\n".join(lines)) from error


def refuse_rival_packages() -> None:
    """Two distributions that share a module name overwrite each other's files. Raises `ClickException` for a pair."""
    for first, second in RIVALS:
        if _installed(first) and _installed(second):
            raise click.ClickException(
                f"both {first} and {second} are installed and share their module; expected one: uninstall both, then "
                "install magnet-rec[serve] or magnet-rec[serve-gpu]"
            )


def _installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


if __name__ == "__main__":
    main()
