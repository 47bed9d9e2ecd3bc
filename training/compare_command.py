"""`magnet-train compare`: finished runs side by side, with significance."""

from __future__ import annotations

from pathlib import Path

import click

from training.comparison import OF_CONTENT, differences, differences_table, means_table, read_runs, same_content
from training.evaluation.per_user import OVERALL
from training.evaluation.protocol import AMONG_COLD
from training.evaluation.strata import ITEM_STRATA, USER_STRATA

GROUPS = (OVERALL, *ITEM_STRATA, AMONG_COLD, *USER_STRATA)


@click.command()
@click.argument(
    "runs", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="RUN..."
)
@click.option(
    "--metric", "metrics", multiple=True, default=("recall@20", "ndcg@20"), show_default=True, help="Repeatable."
)
@click.option(
    "--group",
    "groups",
    multiple=True,
    default=(OVERALL,),
    show_default=True,
    type=click.Choice([*GROUPS, "all"]),
    help="Users or items to look at, repeatable; `all` for every group.",
)
@click.option(
    "--part", type=click.Choice(["valid", "test"]), default="test", show_default=True, help="Part of the split."
)
@click.option("--resamples", type=click.IntRange(min=100), default=10_000, show_default=True, help="Bootstrap samples.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the tables there too.")
def compare(
    runs: tuple[Path, ...],
    metrics: tuple[str, ...],
    groups: tuple[str, ...],
    part: str,
    resamples: int,
    out: Path | None,
) -> None:
    """Compare the first run's model with the others': paired bootstrap over users, Holm's correction, Markdown tables.

    Runs that differ in nothing but the seed are one model, averaged per user.
    """
    chosen = GROUPS if "all" in groups else groups
    models = read_runs(runs)
    tables = [means_table(models, part=part, metrics=metrics, groups=chosen)]
    if len(models) > 1:
        found = differences(models, part=part, metrics=metrics, groups=chosen, resamples=resamples)
        tables.append(differences_table(models[0].label, found))
        apart = [model.label for model in models[1:] if not same_content(models[0], model, part)]
        if OF_CONTENT in chosen and apart:
            tables.append(f"{OF_CONTENT}: not compared with {', '.join(apart)}, where other items lack a modality.")
    text = "\n\n".join(tables) + "\n"
    if out is not None:
        out.write_text(text, encoding="utf-8")
    click.echo(text, nl=False)
