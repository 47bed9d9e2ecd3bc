"""`magnet-train sweep`: search settings on validation."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from training import pipeline
from training.config import ConfigError, model_settings, put_together
from training.evaluation.protocol import CUTOFFS
from training.fit.run import Run
from training.models.registry import recipe_for

METRICS = tuple(f"{name}@{k}" for name in ("recall", "ndcg") for k in CUTOFFS)


@click.command()
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Dataset directory.")
@click.option("--model", default=None, help="Model out of `magnet-train models`.  [default: magnet]")
@click.option(
    "--space",
    "space_file",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='TOML: a table per setting, `["settings.base.learning_rate"]`, with `choices` or `low`, `high`, `log`.',
)
@click.option(
    "--out", "directory", required=True, type=click.Path(file_okay=False, path_type=Path), help="The sweep's directory."
)
@click.option("--trials", type=click.IntRange(min=1), default=20, show_default=True, help="Trials to reach in all.")
@click.option(
    "--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Trials at once, each a process."
)
@click.option("--metric", default="recall@20", show_default=True, help="Validation metric to maximise.")
@click.option(
    "--config", "config_file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="TOML file."
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="One fixed setting.")
@click.option(
    "--store",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("model_store/artifacts"),
    show_default=True,
    help="The model store.",
)
def sweep(
    data: Path | None,
    model: str | None,
    space_file: Path,
    directory: Path,
    trials: int,
    jobs: int,
    metric: str,
    config_file: Path | None,
    overrides: tuple[str, ...],
    store: Path,
) -> None:
    """Search settings, judged by validation alone; the same command again goes on where it stopped.

    The best configuration is written to OUT/best.toml, for `magnet-train run --config`.
    """
    from training.sweep import configured, read_space, run_sweep  # Optuna takes a second to import

    base = put_together(config_file, overrides, {"data": data, "model": model})
    space = read_space(space_file)
    if metric not in METRICS:
        raise ConfigError(f"expected a metric out of {', '.join(METRICS)}, found {metric!r}")
    for corner in ("low", "high"):
        edge = {name: d.choices[0] if d.choices else getattr(d, corner) for name, d in space.items()}
        try:
            model_settings(recipe_for(base.model).config_type, configured(base, edge).settings)
        except ConfigError as error:
            raise ConfigError(f"with the values of {space_file}: {error}") from error
    features = base.features or directory / "features"
    pipeline.prepare(base.model_copy(update={"features": features}), Run(directory), store)
    if features.exists():
        base = base.model_copy(update={"features": features})
    console = Console(stderr=True)
    report = run_sweep(
        directory, base, space, store, trials=trials, jobs=jobs, metric=metric, told=lambda line: console.print(line)
    )
    console.print(f"{report.complete} trials complete, {report.failed} failed (see log.txt of each)")
    if report.best is None:
        raise ConfigError(f"no trial succeeded, see {directory}/trials/*/log.txt")
    console.print(f"best: trial {report.best_trial:04d}, {metric} {report.best_value:.4f}, {directory / 'best.toml'}")
    click.echo(str(directory / "best.toml"))
