"""`magnet-train`: the trainer's commands. Errors of the documented kinds end with one line and exit code 2."""

from __future__ import annotations

import json
import logging
import sys
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

from model_store.errors import StoreError
from model_store.store import Store
from training import pipeline
from training.compare_command import compare
from training.config import (
    ConfigError,
    RunConfig,
    check_unchanged,
    put_together,
    read_run_config,
    write_run_config,
)
from training.data.demo_command import demo_data
from training.encoders.commands import encoder_group, features_command
from training.errors import TrainingError
from training.fit.loop import Interrupted
from training.fit.run import Run, progress_display
from training.fold_in_command import fold_in
from training.import_command import import_command
from training.models.registry import RECIPES
from training.report_command import report
from training.results_command import results
from training.same_data import check_same_data
from training.sweep_command import sweep

CONFIG = "config.toml"
ALONE = "the same command goes on from there"
"""How a command that reads checkpoints of its own accord is gone on with."""
AFTER_A_PHASE = {
    "run": "; the same command with --resume goes on from the last finished phase",
    **dict.fromkeys(("evaluate", "export", "sweep"), "; the same command goes on from the last finished phase"),
}
"""What to do after an interruption that no phase held, by command; the others start over."""

STORE = click.option(
    "--store",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("model_store/artifacts"),
    show_default=True,
    help="The model store.",
)
RUN_DIRECTORY = click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))


class Commands(click.Group):
    """Turns the trainer's and the store's errors into one line on stderr."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except Interrupted as error:
            click.echo(f"\n{error}", err=True)
            ctx.exit(130)
        except KeyboardInterrupt:
            click.echo(f"\ninterrupted{AFTER_A_PHASE.get(ctx.invoked_subcommand or '', '')}", err=True)
            ctx.exit(130)
        except (TrainingError, StoreError, OSError) as error:
            click.echo(f"magnet-train: {error}", err=True)
            ctx.exit(2)


@click.group(cls=Commands, context_settings={"max_content_width": 110})
def main() -> None:
    """Train MAGNET and its siblings, evaluate them, and publish snapshots."""
    handler = RichHandler(console=Console(stderr=True), show_path=False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])


main.add_command(demo_data)
main.add_command(features_command)
main.add_command(encoder_group)
main.add_command(compare)
main.add_command(fold_in)
main.add_command(import_command)
main.add_command(sweep)
main.add_command(report)
main.add_command(results)


@main.command()
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Dataset directory.")
@click.option(
    "--events",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="Feedback out of `magnet-serve export-events`, joined to the dataset; repeatable, oldest first.",
)
@click.option("--model", default=None, help="Model out of `magnet-train models`.  [default: magnet]")
@STORE
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Run directory.  [default: runs/<time>]")
@click.option(
    "--config", "config_file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="TOML file."
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="One setting, e.g. settings.members=2.")
@click.option("--seed", type=click.IntRange(min=0), default=None, help="Seed of everything random.  [default: 0]")
@click.option(
    "--split", default=None, help="given, random, leave-last, global-time, cold-items, auto.  [default: auto]"
)
@click.option(
    "--min-rating",
    type=float,
    default=None,
    help="Ratings from here on are positives.  [default: 70 % of the highest; with x_label all]",
)
@click.option(
    "--features",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    help="Directory with (or for) feature arrays.",
)
@click.option("--device", default=None, help="cpu, cuda or auto.  [default: auto]")
@click.option("--amp/--no-amp", default=None, help="Mixed precision.")
@click.option("--refit/--no-refit", default=None, help="Fit again on all interactions before export.  [default: refit]")
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@click.option("--export/--no-export", "publish", default=True, show_default=True, help="Publish a snapshot.")
@click.option("--promote/--no-promote", default=True, show_default=True, help="Point the store at the new snapshot.")
def run(
    data: Path | None,
    events: tuple[Path, ...],
    store: Path,
    out: Path | None,
    config_file: Path | None,
    overrides: tuple[str, ...],
    resume: bool,
    publish: bool,
    promote: bool,
    **given: Any,
) -> None:
    """Read, fit, evaluate, export and promote."""
    if resume and out is None:
        raise ConfigError("expected the directory of a run to go on with: --resume needs --out")
    directory = out or Path("runs") / datetime.now().strftime("%Y%m%d-%H%M%S")
    begun = (directory / CONFIG).exists()
    given |= {"data": data, "events": events or None}
    if begun and not resume:
        raise ConfigError(f"expected a new run directory, {directory} holds a run; give --resume or another --out")
    if begun:
        config = read_run_config(directory / CONFIG)
        check_unchanged(config, config_file, overrides, given)
    else:
        config = put_together(config_file, overrides, given)
    _walk(config, directory, store, resume=resume, publish=publish, promote=promote)


@main.command()
@RUN_DIRECTORY
@STORE
def evaluate(directory: Path, store: Path) -> None:
    """Evaluate a run again, from its checkpoints."""
    config = read_run_config(directory / CONFIG)
    _walk(config, directory, store, resume=True, publish=False, promote=False, advice=ALONE)


@main.command()
@RUN_DIRECTORY
@STORE
@click.option("--promote/--no-promote", default=False, show_default=True, help="Point the store at the new snapshot.")
def export(directory: Path, store: Path, promote: bool) -> None:
    """Publish a run's model, from its checkpoints."""
    config = read_run_config(directory / CONFIG)
    _walk(config, directory, store, resume=True, publish=True, promote=promote, advice=ALONE)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="A JSON array of names.")
def models(as_json: bool) -> None:
    """The names that --model takes."""
    click.echo(json.dumps(list(RECIPES)) if as_json else "\n".join(RECIPES))


def _walk(
    config: RunConfig, directory: Path, store: Path, *, resume: bool, publish: bool, promote: bool, advice: str = ""
) -> None:
    from torch.utils.tensorboard import SummaryWriter

    console = Console(stderr=True)
    device = pipeline.device_of(config.device)
    with progress_display() as progress:
        run = Run(
            directory,
            seed=config.seed,
            device=device,
            amp=config.amp,
            resume=resume,
            progress=progress,
            advice=advice,
        )
        prepared = pipeline.prepare(config, run, store)
        check_same_data(run, prepared.dataset, prepared.split)
        complete = config.model_copy(update={"settings": prepared.settings.model_dump(mode="json", exclude_none=True)})
        write_run_config(directory / CONFIG, complete)
        with closing(SummaryWriter(str(directory / "tensorboard"))) as run.scalars:
            started = time.monotonic()
            fitted = pipeline.fit(prepared, run)
            seconds = time.monotonic() - started + sum(run.earlier)
            parts = pipeline.evaluation(prepared, fitted, run)
            metrics = pipeline.write_metrics(run, prepared, fitted, parts, seconds=seconds)
            snapshot = pipeline.export(config, prepared, fitted, metrics, run, store) if publish else None
        if snapshot and promote:
            Store(store).promote(snapshot)
    console.print(_summary(metrics))
    console.print(f"run: {directory}" + (f"\nsnapshot: {snapshot}" if snapshot else ""))
    if snapshot:
        click.echo(snapshot)


def _summary(metrics: dict[str, Any]) -> Table:
    table = Table("", "Recall@20", "NDCG@20", "Recall@10", "NDCG@10")
    for part in ("valid", "test", "cold", "tail"):
        if values := metrics[part]:
            cells = (values.get(name) for name in ("recall@20", "ndcg@20", "recall@10", "ndcg@10"))
            table.add_row(part, *("" if value is None else f"{value:.4f}" for value in cells))
    return table


if __name__ == "__main__":
    sys.exit(main())
