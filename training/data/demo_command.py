"""`magnet-train demo-data`: the demo catalogue from the command line."""

from __future__ import annotations

from pathlib import Path

import click

from training.data.demo.catalogue import FEWEST_ITEMS, FEWEST_USERS, write_demo
from training.data.demo.plan import DemoPlan
from training.errors import TrainingError


@click.command("demo-data")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Directory to write; it must not exist yet."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="The same seed, the same bytes.")
@click.option(
    "--items", type=click.IntRange(min=FEWEST_ITEMS), default=DemoPlan.n_items, show_default=True, help="Items."
)
@click.option(
    "--users", type=click.IntRange(min=FEWEST_USERS), default=DemoPlan.n_users, show_default=True, help="Users."
)
def demo_data(out: Path, seed: int, items: int, users: int) -> None:
    """Generate the demo catalogue: pictures, descriptions, choices, and the truth about them."""
    try:
        truth = write_demo(out, seed, n_items=items, n_users=users)
    except (TrainingError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(
        f"{out}: {len(truth.item_ids)} items, {len(truth.user_ids)} users, {len(truth.choices.item_row)} choices"
    )
