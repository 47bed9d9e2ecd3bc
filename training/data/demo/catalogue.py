"""Writes the demo catalogue: a dataset directory like any other, with its truth beside it."""

from __future__ import annotations

import csv
import shutil
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.demo.attributes import MATERIALS, USES, draw_attributes
from training.data.demo.choices import draw_choices, draw_users
from training.data.demo.descriptions import write_description, write_title
from training.data.demo.pictures import render_picture
from training.data.demo.plan import DemoPlan
from training.data.demo.truth import FILE_NAME, Truth, draw_summary, read_truth, write_truth
from training.data.demo.vocabulary import USE_WORDS
from training.errors import DatasetError, TrainingError

FEWEST_ITEMS = 24
FEWEST_USERS = 12


def write_demo(out: Path, seed: int, *, n_items: int = DemoPlan.n_items, n_users: int = DemoPlan.n_users) -> Truth:
    """Generate the catalogue of `seed` into `out` and return its truth; the same arguments give the same bytes.

    `out` appears complete or not at all. If it already holds this very catalogue, that is left as it is. Raises
    DatasetError where `out` holds anything else, TrainingError on sizes too small to plant anything in.
    """
    if seed < 0 or n_items < FEWEST_ITEMS or n_users < FEWEST_USERS:
        raise TrainingError(
            f"expected a seed of at least 0, {FEWEST_ITEMS} items and {FEWEST_USERS} users for the demo catalogue, "
            f"found seed {seed}, {n_items} items and {n_users} users"
        )
    plan = DemoPlan(seed=seed, n_items=n_items, n_users=n_users)
    if out.exists():
        return _existing(out, plan)
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        truth = _draw(plan)
        _write_items(staging, truth)
        _write_interactions(staging / "interactions.csv", truth)
        write_truth(staging, truth)
        staging.chmod(0o755)
        staging.rename(out)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return truth


def _existing(out: Path, plan: DemoPlan) -> Truth:
    if (out / FILE_NAME).is_file():
        truth = read_truth(out)
        if truth.plan == plan:
            return truth
        raise DatasetError(out, f"expected no other demo catalogue here, found one with {draw_summary(truth.plan)}")
    raise DatasetError(out, "expected a directory that does not exist yet, or this very demo catalogue")


def _draw(plan: DemoPlan) -> Truth:
    items = draw_attributes(plan)
    users = draw_users(plan, items)
    choices = draw_choices(plan, items, users)
    return Truth(
        plan=plan,
        user_ids=[f"user-{row:05d}" for row in range(1, plan.n_users + 1)],
        item_ids=[f"item-{row:05d}" for row in range(1, plan.n_items + 1)],
        items=items,
        users=users,
        choices=choices,
    )


def _write_items(directory: Path, truth: Truth) -> None:
    plan, items = truth.plan, truth.items
    pictures, texts, gaps = (plan.generator(stream) for stream in ("pictures", "texts", "gaps"))
    pictured = _all_but_a_few(plan.n_items, plan.without_picture, gaps)
    described = _all_but_a_few(plan.n_items, plan.without_text, gaps)
    (directory / "images").mkdir()
    with (directory / "items.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("item_id", "title", "categories", "description", "image"))
        for row, item_id in enumerate(truth.item_ids):
            use, material, mood = int(items.use[row]), int(items.material[row]), int(items.mood[row])
            title, description = write_title(use, texts), write_description(use, material, mood, texts)
            categories = f"{USE_WORDS[USES[use]].category}|{MATERIALS[material].capitalize()}"
            picture = render_picture(int(items.hue[row]), int(items.pattern[row]), pictures)
            image = f"images/{item_id}.png" if pictured[row] else ""
            if image:
                (directory / image).write_bytes(picture)
            writer.writerow((item_id, *((title, categories, description) if described[row] else ("", "", "")), image))


def _all_but_a_few(count: int, share: float, generator: np.random.Generator) -> NDArray[np.bool_]:
    kept = np.ones(count, dtype=np.bool_)
    kept[generator.permutation(count)[: round(share * count)]] = False
    return kept


def _write_interactions(path: Path, truth: Truth) -> None:
    """Write all choices as a log: in order of time over all users."""
    choices = truth.choices
    user_row = np.repeat(np.arange(len(truth.user_ids)), np.diff(choices.offsets))
    order = np.lexsort((user_row, choices.timestamp))
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write("user_id,item_id,timestamp\n")
        for user, item, time in zip(
            user_row[order].tolist(), choices.item_row[order].tolist(), choices.timestamp[order].tolist(), strict=True
        ):
            file.write(f"{truth.user_ids[user]},{truth.item_ids[item]},{time}\n")
