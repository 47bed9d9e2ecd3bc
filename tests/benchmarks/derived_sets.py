"""Data sets that are smaller, sparser or richer than those at hand, derived from them: do the defaults carry over?

    python -m tests.benchmarks.derived_sets --baby DATA/baby --movielens DATA/movielens --features FEATURES --out OUT

Each is written in MMRec's form, features beside the interactions, a random split 8:1:1 per user in `x_label`. They are
for choosing defaults that adapt (`training/LOG.md` has what came of it), not for figures to compare with others.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from training.data.dataset import Dataset, load_dataset
from training.data.positives import merge_duplicates

Features = dict[str, NDArray[np.float32]]
Pairs = NDArray[np.int64]
"""Users and items, shape (n, 2)."""


def some_users(pairs: Pairs, n_users: int, rng: np.random.Generator) -> Pairs:
    """Those of `n_users` users, drawn at random."""
    users = np.unique(pairs[:, 0])
    return pairs[np.isin(pairs[:, 0], rng.choice(users, n_users, replace=False))]


def places(users: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of rows that are sorted by user: each one's place among its user's, and how many these are."""
    _, starts, counts = np.unique(users, return_index=True, return_counts=True)
    return np.arange(len(users)) - np.repeat(starts, counts), np.repeat(counts, counts)


def at_most(pairs: Pairs, length: int, rng: np.random.Generator) -> Pairs:
    """Of every user `length` positives at most, drawn at random."""
    shuffled = pairs[rng.permutation(len(pairs))]
    shuffled = shuffled[np.argsort(shuffled[:, 0], kind="stable")]
    place, _ = places(shuffled[:, 0])
    return shuffled[place < length]


def core(pairs: Pairs, users: int, items: int) -> Pairs:
    """Without users of fewer than `users` items and items of fewer than `items` users, until none is left."""
    while True:
        user_counts, item_counts = np.bincount(pairs[:, 0]), np.bincount(pairs[:, 1])
        kept = pairs[(user_counts[pairs[:, 0]] >= users) & (item_counts[pairs[:, 1]] >= items)]
        if len(kept) == len(pairs):
            return kept
        pairs = kept


def write(directory: Path, pairs: Pairs, features: Features, rng: np.random.Generator) -> None:
    """`pairs` renumbered, with a split, and the features of the items that are left."""
    directory.mkdir(parents=True, exist_ok=True)
    _, users = np.unique(pairs[:, 0], return_inverse=True)
    kept, items = np.unique(pairs[:, 1], return_inverse=True)
    order = np.lexsort((rng.random(len(users)), users))
    place, count = places(users[order])
    held = np.maximum(count // 10, 1)
    label = np.where(place < held, 2, np.where(place < 2 * held, 1, 0))
    lines = [f"{u}\t{i}\t{x}" for u, i, x in zip(users[order], items[order], label, strict=True)]
    (directory / f"{directory.name}.inter").write_text("\n".join(["userID\titemID\tx_label", *lines, ""]))
    for name, matrix in features.items():
        np.save(directory / f"{name}_feat.npy", matrix[kept])
    click.echo(
        f"{directory.name}: {users.max() + 1} users, {len(kept)} items, {len(users)} positives, {', '.join(features)}"
    )


def content_of(dataset: Dataset) -> Features:
    """Its features by modality, (I, d) each."""
    return {name: matrix.values for name, matrix in dataset.features.items()}


def genres_of(dataset: Dataset) -> NDArray[np.float32]:
    """Categories as a modality of their own, shape (I, C)."""
    categories = dataset.items.categories
    names = sorted({name for row in categories for name in row})
    return np.array([[name in row for name in names] for row in categories], dtype=np.float32)


def pairs_of(dataset: Dataset) -> Pairs:
    """Its distinct positives."""
    positives = merge_duplicates(dataset)
    return np.stack([positives.user_row, positives.item_row], axis=1).astype(np.int64)


@click.command()
@click.option("--baby", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--movielens", type=click.Path(path_type=Path, exists=True), required=True)
@click.option(
    "--features", type=click.Path(path_type=Path, exists=True), required=True, help="Arrays of MovieLens' items."
)
@click.option("--out", type=click.Path(path_type=Path), required=True)
def main(baby: Path, movielens: Path, features: Path, out: Path) -> None:
    """Write the sets to OUT."""
    rng = np.random.default_rng(0)
    sparse = load_dataset(baby)
    dense = load_dataset(movielens, min_rating=3.5, features_directory=features)
    some = core(some_users(pairs_of(sparse), 6_000, rng), users=5, items=3)
    content, films = content_of(sparse), content_of(dense)
    noise = rng.standard_normal((dense.n_items, 64), dtype=np.float32)
    write(out / "baby-part", some, content, rng)
    write(out / "baby-acoustic", some, {"acoustic": content["textual"]}, rng)
    write(out / "movielens-short", at_most(pairs_of(dense), 15, rng), films, rng)
    write(out / "movielens-few", some_users(pairs_of(dense), 150, rng), films, rng)
    four = {**films, "genres": genres_of(dense), "acoustic": noise}
    write(out / "movielens-four", at_most(pairs_of(dense), 40, rng), four, rng)


if __name__ == "__main__":
    main()
