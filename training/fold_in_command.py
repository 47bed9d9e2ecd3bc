"""`magnet-train fold-in`: what folding newcomers in is worth on a dataset."""

from __future__ import annotations

import json
from pathlib import Path

import click

from training import pipeline
from training.config import MOST_SEED, RunConfig
from training.fit.run import Run, progress_display
from training.fold_in import fold_in_quality, hold_users_out


@click.command("fold-in")
@click.option(
    "--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True, help="Dataset directory."
)
@click.option("--model", default="magnet", show_default=True, help="Model out of `magnet-train models`.")
@click.option(
    "--store",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("model_store/artifacts"),
    show_default=True,
    help="The model store, which holds the encoders.",
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Directory for both fits.")
@click.option("--features", type=click.Path(file_okay=False, path_type=Path), help="Directory with feature arrays.")
@click.option("--share", type=click.FloatRange(0, 0.9, min_open=True), default=0.2, show_default=True, help="Of users.")
@click.option(
    "--seed", type=click.IntRange(0, MOST_SEED), default=0, show_default=True, help="Seed of everything random."
)
def fold_in(data: Path, model: str, store: Path, out: Path, features: Path | None, share: float, seed: int) -> None:
    """Hold users out of training entirely, fold in half of what they did, and look for the other half.

    Prints Recall@20 (hits over the smaller of 20 and the number wanted) beside that of a model trained with them.
    """
    config = RunConfig(data=data, model=model, features=features, seed=seed)
    with progress_display() as progress:
        device = pipeline.device_of("auto")
        run = Run(out, seed=seed, device=device, progress=progress, advice="the same command starts over")
        prepared = pipeline.prepare(config, run, store)
        held_out = hold_users_out(prepared.dataset, share=share, seed=seed)
        quality = fold_in_quality(prepared.recipe, prepared.settings, prepared.dataset, held_out, run)
    click.echo(json.dumps(quality))
