"""`magnet-train report`: the report of a finished run, written again."""

from __future__ import annotations

from pathlib import Path

import click

from training.report.write import write_report


@click.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
def report(directory: Path) -> None:
    """Write a run's report.html again, from its history, metrics and configuration."""
    click.echo(write_report(directory))
