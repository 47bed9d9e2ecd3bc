"""`magnet-train import-config`: MMRec's and RecBole's configuration files as one of this trainer."""

from __future__ import annotations

from pathlib import Path

import click
import tomli_w

from training.config import model_settings
from training.foreign_config import import_config
from training.models.registry import recipe_for

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("import-config")
@click.argument("files", nargs=-1, required=True, type=FILE, metavar="YAML...")
@click.option("--model", default=None, help="Model, where the files do not say.  [default: the last file's name]")
@click.option("--data", type=click.Path(path_type=Path), default=None, help="Dataset directory, over the files'.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write it there.  [default: print it]")
@click.option(
    "--space", type=click.Path(dir_okay=False, path_type=Path), help="Write MMRec's grid there, for `sweep --space`."
)
def import_command(
    files: tuple[Path, ...], model: str | None, data: Path | None, out: Path | None, space: Path | None
) -> None:
    """Turn MMRec's or RecBole's YAML files, later ones over earlier ones, into a file for `run --config`.

    What has no counterpart here is named on stderr.
    """
    found = import_config(files, model=model, data=data)
    model_settings(recipe_for(found.config["model"]).config_type, found.config.get("settings", {}))
    for note in found.notes:
        click.echo(f"not taken over: {note}", err=True)
    if found.space and space is None:
        click.echo(f"not taken over: the grid over {', '.join(found.space)}; --space FILE writes it", err=True)
    if space is not None:
        space.write_text(tomli_w.dumps(found.space), encoding="utf-8")
    text = tomli_w.dumps(found.config)
    if out is None:
        click.echo(text, nl=False)
    else:
        out.write_text(text, encoding="utf-8")
