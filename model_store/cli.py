"""The command `magnet-store`: look at snapshots, choose the one that is served, remove old ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from model_store.errors import SnapshotNotFound, StoreError
from model_store.manifest import Manifest
from model_store.store import Store, StoredSnapshot

_NAME_WIDTH = 22


class _Refusal(click.ClickException):
    exit_code = 2


class _Commands(click.Group):
    """A group whose commands report this package's errors on stderr, with exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except StoreError as error:
            raise _Refusal(str(error)) from error


def _in_store(command: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--store",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path("model_store/artifacts"),
        help="Directory of the store.",
    )(command)


def _as_json(command: Callable[..., None]) -> Callable[..., None]:
    return click.option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")(command)


@click.group(cls=_Commands)
def main() -> None:
    """Look at the snapshots of a store, choose the one that is served, remove old ones.

    ID is a snapshot's id, the beginning of one that is unique, or `current`.
    """


@main.command("list")
@_in_store
@_as_json
def list_snapshots(store: Path, as_json: bool) -> None:
    """List the snapshots, newest first; `*` marks the current one."""
    listed = Store(store).snapshots()
    if as_json:
        click.echo(json.dumps([_summary(entry) for entry in listed], ensure_ascii=False, indent=2))
    elif not listed:
        click.echo(f"{store}: no snapshots")
    for entry in [] if as_json else listed:
        mark = "*" if entry.is_current else " "
        manifest = entry.manifest
        if manifest is None:
            click.echo(f"{mark} {entry.snapshot}  unreadable: {entry.problem}")
        else:
            click.echo(
                f"{mark} {entry.snapshot}  {manifest.created_at:%Y-%m-%d %H:%M}  {manifest.model} on {manifest.dataset}"
                f"  {manifest.n_users} users  {manifest.n_items} items  {_size(manifest) / 2**20:.1f} MiB"
            )


@main.command()
@click.argument("snapshot", metavar="ID")
@_in_store
@_as_json
def show(snapshot: str, store: Path, as_json: bool) -> None:
    """Show what a snapshot says about itself: model, terms, measured quality."""
    entry = _find(Store(store), snapshot)
    if entry.manifest is None:
        raise StoreError(f"{entry.snapshot}: {entry.problem}")
    manifest = entry.manifest.model_dump(mode="json")
    if as_json:
        about = {"id": entry.snapshot, "current": entry.is_current, **manifest}
        click.echo(json.dumps(about, ensure_ascii=False, indent=2))
        return
    click.echo(f"{'id':{_NAME_WIDTH}} {entry.snapshot}{' (current)' if entry.is_current else ''}")
    for name, value in manifest.items():
        if name not in ("arrays", "files", "terms", "modalities", "training"):
            click.echo(f"{name:{_NAME_WIDTH}} {json.dumps(value, ensure_ascii=False)}")
    click.echo(f"{'modalities':{_NAME_WIDTH}} {', '.join(modality.name for modality in entry.manifest.modalities)}")
    for term in entry.manifest.terms:
        shares = ", ".join(f"{name} {share:.2f}" for name, share in term.modalities.items() if share is not None)
        click.echo(f"{'term':{_NAME_WIDTH}} {term.name} ({term.role}) {shares}")
    click.echo(f"{'bytes':{_NAME_WIDTH}} {_size(entry.manifest)} in {len(entry.manifest.files)} files")


@main.command()
@click.argument("snapshot", metavar="ID")
@_in_store
def verify(snapshot: str, store: Path) -> None:
    """Read every byte of a snapshot and compare it with its checksums."""
    found = _find(Store(store), snapshot).snapshot
    Store(store).verify(found)
    click.echo(f"{found}: valid")


@main.command()
@click.argument("snapshot", metavar="ID")
@_in_store
def promote(snapshot: str, store: Path) -> None:
    """Verify a snapshot and make it the current one."""
    found = _find(Store(store), snapshot).snapshot
    Store(store).promote(found)
    click.echo(f"{found}: current")


@main.command()
@_in_store
def rollback(store: Path) -> None:
    """Go back to the snapshot that was current before; again goes further back."""
    click.echo(f"{Store(store).rollback()}: current")


@main.command()
@click.option(
    "--keep",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    help="How many snapshots to keep besides the current one, the most recently used first.",
)
@_in_store
def prune(keep: int, store: Path) -> None:
    """Remove old snapshots, and what interrupted exports left behind."""
    removed = Store(store).prune(keep=keep)
    for snapshot in removed:
        click.echo(f"{snapshot}: removed")
    click.echo(f"{len(removed)} removed")


def _find(store: Store, wanted: str) -> StoredSnapshot:
    listed = store.snapshots()
    if wanted == "current" and (current := store.current()) is None:
        raise SnapshotNotFound(f"{store.root}: no snapshot was promoted yet")
    start = current if wanted == "current" else wanted
    found = [entry for entry in listed if start and entry.snapshot.startswith(start)]
    if len(found) != 1:
        what = "none" if not found else ", ".join(entry.snapshot for entry in found)
        raise SnapshotNotFound(f"{store.root}: expected one snapshot of id {wanted!r}, found {what}")
    return found[0]


def _summary(entry: StoredSnapshot) -> dict[str, Any]:
    manifest = entry.manifest
    about = manifest.model_dump(mode="json") if manifest else {}
    return {
        "id": entry.snapshot,
        "current": entry.is_current,
        **{name: about.get(name) for name in ("created_at", "model", "dataset", "scoring", "n_users", "n_items")},
        "bytes": _size(manifest) if manifest else None,
        "problem": entry.problem,
    }


def _size(manifest: Manifest) -> int:
    return sum(info.bytes for info in manifest.files.values())
