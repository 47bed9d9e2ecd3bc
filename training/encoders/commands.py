"""`magnet-train features` and `magnet-train encoder`: content encoders from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table

from model_store.encoders import list_bundles, read_description
from training.data.dataset import load_dataset
from training.data.features import FeatureMatrix
from training.encoders.bars import StageBars
from training.encoders.catalogue import DEFAULT, import_encoder
from training.encoders.extract import extract_features
from training.errors import DatasetError

NONE = "none"
"""Written in place of an encoder's name to leave a modality out."""

_STORE = click.option(
    "--store",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("model_store/artifacts"),
    show_default=True,
    help="The model store, which holds the encoders.",
)


@click.command("features")
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Dataset directory with items.csv or items.parquet.",
)
@_STORE
@click.option("--text", default=DEFAULT, show_default=True, help="Text encoder: as in `encoder import`, or none.")
@click.option("--image", default=DEFAULT, show_default=True, help="Image encoder: as in `encoder import`, or none.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory for the feature arrays.  [default: the dataset directory]",
)
def features_command(data: Path, store: Path, text: str, image: str, out: Path | None) -> None:
    """Turn the items' texts and pictures into text_feat.npy and image_feat.npy.

    What an earlier run made of the same text or picture with the same encoder is taken over.
    """
    dataset = load_dataset(data, made_features=False)
    references = {"text": None if text == NONE else text, "image": None if image == NONE else image}
    with Progress(*Progress.get_default_columns()[:3], MofNCompleteColumn(), TimeRemainingColumn()) as bars:
        made = extract_features(
            dataset,
            store,
            text=references["text"],
            image=references["image"],
            out=out or data,
            progress=StageBars(bars),
        )
    if not made:
        raise DatasetError(data, "expected texts or pictures of items to encode, found none")
    for matrix in made.values():
        click.echo(_summary(matrix))


@click.group("encoder")
def encoder_group() -> None:
    """Content encoders in the model store, which trainer and service share."""


@encoder_group.command("import")
@click.argument("reference")
@_STORE
def import_command(reference: str, store: Path) -> None:
    """Make REFERENCE an encoder in the store and print its hash.

    REFERENCE is a sentence-transformers checkpoint (a folder, or a name on the model hub), timm:NAME or
    torchvision:NAME (with @FILE for local weights), an .onnx file with a .json of the same name, or filter-bank.
    """
    path = import_encoder(store, reference)
    description = read_description(path)
    click.echo(f"{description.kind} encoder {description.name}, width {description.width}", err=True)
    click.echo(path.name)


@encoder_group.command("list")
@_STORE
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def list_command(store: Path, as_json: bool) -> None:
    """List the encoders in the store."""
    bundles = list(list_bundles(store))
    if as_json:
        click.echo(json.dumps([{"hash": name} | about.model_dump(mode="json") for name, about in bundles], indent=2))
        return
    table = Table("hash", "kind", "name", "width", "made from")
    for name, about in bundles:
        table.add_row(name[:16], about.kind, about.name, str(about.width), about.source.loader)
    Console().print(table)


def _summary(matrix: FeatureMatrix) -> str:
    n_items, width = matrix.values.shape
    missing = int((~matrix.present).sum())
    return f"{matrix.name}: {n_items} items x {width}, {missing} missing, encoder {(matrix.encoder or '')[:16]}"
