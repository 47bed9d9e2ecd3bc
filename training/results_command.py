"""`magnet-train results`: finished runs become committed rows, and rows become RESULTS.md."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path

import click

from training.results.collect import collect
from training.results.page import write_page
from training.results.row import ResultsError, save_row
from training.results.tables import TABLES

ROWS = click.option(
    "--rows",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("training/results/rows"),
    show_default=True,
    help="Where the rows are.",
)


@click.group()
def results() -> None:
    """The published tables: rows as JSON, and the page that is made of them."""


@results.command()
@click.argument(
    "runs", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="RUN..."
)
@click.option("--table", "tables", multiple=True, required=True, type=click.Choice(list(TABLES)), help="Repeatable.")
@click.option("--label", default=None, help="What the tables call the row.  [default: the model's name]")
@click.option("--place", type=int, default=None, help="Position in its tables.  [default: after these, best first]")
@click.option("--fact", "facts", multiple=True, metavar="NAME=NUMBER", help="Measured elsewhere: latency_ms=3.")
@click.option("--remark", default=None, help="What a reader has to know before comparing it.")
@ROWS
def add(
    runs: tuple[Path, ...],
    tables: tuple[str, ...],
    label: str | None,
    place: int | None,
    facts: tuple[str, ...],
    remark: str | None,
    rows: Path,
) -> None:
    """Take finished runs into the tables: one row per seed, in place of an earlier run of the same label and seed."""
    measured = dict(map(_fact, facts))
    for directory in runs:
        row, groups = collect(directory, tables=tables, label=label, place=place, facts=measured, remark=remark or "")
        click.echo(str(save_row(rows, row, groups)))


@results.command()
@ROWS
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("training/RESULTS.md"),
    show_default=True,
    help="The page.",
)
def write(rows: Path, out: Path) -> None:
    """Write RESULTS.md from the rows."""
    out.write_text(write_page(rows), encoding="utf-8")
    click.echo(str(out))


def _fact(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    with suppress(ValueError):
        if math.isfinite(number := float(value)):
            return name, number
    raise ResultsError(f"expected --fact NAME=NUMBER, found {text!r}")
