"""Benchmarks of whatever speed is promised: `make bench`, or `make bench BENCH=serve`."""

from __future__ import annotations

import importlib
from pathlib import Path

import click

from tests.benchmarks.load import has_wrk
from tests.benchmarks.tables import NAMES


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(NAMES))
@click.option("--data", type=click.Path(path_type=Path), default=Path("build/benchmarks"), show_default=True)
def main(names: tuple[str, ...], data: Path) -> None:
    """Run the benchmarks NAMES, all of them where none is named; generated snapshots stay in --data."""
    if not has_wrk():
        raise click.ClickException("wrk is not installed: apt-get install wrk")
    data.mkdir(parents=True, exist_ok=True)
    for name in names or NAMES:
        importlib.import_module(f"tests.benchmarks.{name}").run(data)


if __name__ == "__main__":
    main()
