"""The demo catalogue: deterministic, with the truth that its docstring says is planted."""

import hashlib
import io
import itertools
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import chi2_contingency, spearmanr

from training.data.dataset import load_dataset
from training.data.demo import vocabulary
from training.data.demo.attributes import HUES, MATERIALS, PATTERNS, USES, draw_attributes
from training.data.demo.catalogue import write_demo
from training.data.demo.choices import DAY, FIRST_DAY, KINDS, affinities, draw_choices, draw_users
from training.data.demo.descriptions import write_description, write_title
from training.data.demo.oracle import balanced_accuracy, bayes_oracle
from training.data.demo.pictures import SIDE, render_picture
from training.data.demo.plan import DemoPlan
from training.data.demo.truth import Truth, read_truth
from training.data.demo_command import demo_data
from training.data.splits import split_dataset
from training.errors import DatasetError, TrainingError

TINY = {"n_items": 60, "n_users": 40}
CROWDED = draw_attributes(DemoPlan(seed=1, n_items=20_000))
"""Many items, so that a dependence between attributes could not hide behind chance."""


@pytest.fixture(scope="module")
def truth() -> Truth:
    """The default catalogue without its pictures and texts."""
    plan = DemoPlan(seed=0)
    items = draw_attributes(plan)
    users = draw_users(plan, items)
    user_ids, item_ids = ([f"{name}{row}" for row in range(count)] for name, count in (("u", 2000), ("i", 1200)))
    return Truth(plan, user_ids, item_ids, items, users, draw_choices(plan, items, users))


def digest(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        write_demo(tmp_path / name, seed, **TINY)
    one, two, other = (digest(tmp_path / name) for name in ("one", "two", "other"))
    assert one == two
    assert {name for name in one.keys() & other.keys() if one[name] == other[name]} <= {"truth/choice_offsets.npy"}


def test_the_catalogue_is_a_dataset_and_the_truth_beside_it_comes_back(tmp_path: Path) -> None:
    written = write_demo(tmp_path / "demo", 0, n_items=80, n_users=40)
    dataset = load_dataset(tmp_path / "demo")
    truth = read_truth(tmp_path / "demo")
    assert dataset.items.item_ids == truth.item_ids == written.item_ids
    assert dataset.n_users == len(truth.user_ids) == 40
    assert len(dataset.interactions) == truth.choices.offsets[-1]
    assert sum(image is None for image in dataset.items.images) == 2  # 2.5 % of 80
    bare = [row for row, text in enumerate(dataset.items.descriptions) if text is None]
    assert len(bare) == 2
    assert all(dataset.items.titles[row] is None and dataset.items.categories[row] == () for row in bare)
    assert (truth.items.standing == written.items.standing).all()
    assert (truth.users.taste == written.users.taste).all()
    assert (truth.users.weights == written.users.weights).all()
    assert set(truth.kind_of_user().values()) <= {*KINDS, "mixture"}
    history = split_dataset(dataset, "leave-last", seed=0).history()
    chosen = [dataset.items.item_ids[row] for row in history[1][: history[0][1]]]
    user_row = truth.user_ids.index(dataset.user_ids[0])
    start, stop = truth.choices.offsets[user_row : user_row + 2]
    assert chosen == [truth.item_ids[row] for row in truth.choices.item_row[start : stop - 2]]


def test_visual_textual_and_hidden_attributes_are_independent() -> None:
    items = CROWDED
    columns = {
        "hue": items.hue,
        "pattern": items.pattern,
        "use": items.use,
        "material": items.material,
        "popularity": np.argsort(np.argsort(items.popularity)) * 5 // 20_000,
        "standing": np.digitize(items.standing[0], [-0.7, 0, 0.7]),
    }
    for (name, one), (other_name, other) in itertools.combinations(columns.items(), 2):
        table = np.zeros((one.max() + 1, other.max() + 1))
        np.add.at(table, (one, other), 1)
        assert chi2_contingency(table).pvalue > 0.001, (name, other_name)
        assert mutual_information(table) < 0.003, (name, other_name)  # bits; hue alone has 3


def mutual_information(table: NDArray[np.float64]) -> float:
    joint = table / table.sum()
    alone = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    return float((joint[joint > 0] * np.log2(joint[joint > 0] / alone[joint > 0])).sum())


def test_affinities_have_mean_0_and_variance_1_and_know_nothing_of_each_other() -> None:
    looks, description, crowd = affinities(CROWDED)
    for table in (looks, description, crowd):
        assert np.abs(table.mean(axis=1)).max() < 0.1
        assert np.abs(table.std(axis=1) - 1).max() < 0.1
    for one, other in itertools.combinations((looks[7], description[7], crowd[7]), 2):
        assert abs(spearmanr(one, other).statistic) < 0.03


def test_a_neighbouring_hue_is_liked_less_than_the_favourite_and_more_than_others() -> None:
    looks, _, _ = affinities(CROWDED)
    taste = HUES.index("red") * len(PATTERNS) + PATTERNS.index("plain")
    plain = CROWDED.pattern == PATTERNS.index("plain")
    red, amber, magenta, teal = (
        looks[taste][plain & (CROWDED.hue == HUES.index(hue))].mean() for hue in ("red", "amber", "magenta", "teal")
    )
    assert amber == pytest.approx(magenta)
    assert red > amber > teal


def test_kinds_are_as_frequent_as_planned_and_uneven(truth: Truth) -> None:
    shares = np.bincount(truth.users.kind, minlength=4) / len(truth.user_ids)
    assert np.abs(shares - [0.27, 0.26, 0.22, 0.25]).max() < 0.03
    assert np.allclose(truth.users.weights.sum(axis=1), 1)
    mixtures = truth.users.weights[truth.users.kind == len(KINDS)]
    assert (mixtures.max(axis=1) < 0.95).all()


def test_nobody_chooses_twice_and_times_rise(truth: Truth) -> None:
    offsets, item_row, timestamp = truth.choices.offsets, truth.choices.item_row, truth.choices.timestamp
    assert 40_000 < len(item_row) < 60_000
    assert np.diff(offsets).min() >= 8
    assert np.diff(offsets).max() <= 60
    inside = np.ones(len(timestamp) - 1, dtype=bool)
    inside[offsets[1:-1] - 1] = False
    assert (np.diff(timestamp)[inside] > 0).all()
    assert FIRST_DAY <= timestamp.min() <= FIRST_DAY + 10 * DAY
    for start, stop in itertools.pairwise(offsets.tolist()):
        assert len(set(item_row[start:stop].tolist())) == stop - start


def test_popularity_has_a_long_tail(truth: Truth) -> None:
    counts = np.sort(np.bincount(truth.choices.item_row, minlength=1200))[::-1]
    assert 0.3 < counts[:120].sum() / counts.sum() < 0.6
    assert np.median(counts) < counts.mean() * 0.7


def test_pure_users_choose_by_their_own_taste_only(truth: Truth) -> None:
    """Mean affinity of what pure users chose: high in their own kind, nothing beyond chance in the others."""
    tables = affinities(truth.items)
    owner = np.repeat(np.arange(2000), np.diff(truth.choices.offsets))
    chosen = np.stack(
        [table[truth.users.taste[owner, kind], truth.choices.item_row] for kind, table in enumerate(tables)], axis=1
    )
    for kind in range(len(KINDS)):
        means = chosen[truth.users.kind[owner] == kind].mean(axis=0)
        assert means[kind] > 0.8
        assert np.abs(np.delete(means, kind)).max() < 0.15


def test_the_oracle_names_kinds_and_the_majority_does_not(truth: Truth) -> None:
    oracle = bayes_oracle(truth)
    assert oracle.posterior.shape == (2000, 3)
    assert np.allclose(oracle.posterior.sum(axis=1), 1)
    assert oracle.balanced_accuracy >= 0.97
    assert 1 / 3 < oracle.majority_accuracy < 0.42


def test_the_oracle_knows_nothing_where_nothing_is_planted() -> None:
    plan = DemoPlan(seed=0, strength=0.0, n_users=400, n_items=100)
    items = draw_attributes(plan)
    users = draw_users(plan, items)
    names = [str(row) for row in range(400)]
    oracle = bayes_oracle(Truth(plan, names, names[:100], items, users, draw_choices(plan, items, users)))
    assert np.allclose(oracle.posterior, np.array([0.27, 0.26, 0.22]) / 0.75)
    assert oracle.balanced_accuracy == pytest.approx(1 / 3)


def test_the_oracle_is_calibrated() -> None:
    """Among verdicts given with probability p, about p are right: the likelihood is the generator's own."""
    plan = DemoPlan(seed=5, strength=0.6, n_users=3000, n_items=200)
    items = draw_attributes(plan)
    users = draw_users(plan, items)
    names = [str(row) for row in range(3000)]
    oracle = bayes_oracle(Truth(plan, names, names[:200], items, users, draw_choices(plan, items, users)))
    pure = users.kind < len(KINDS)
    sure = oracle.posterior[pure].max(axis=1)
    right = oracle.posterior[pure].argmax(axis=1) == users.kind[pure]
    for low, high in ((0.4, 0.6), (0.6, 0.8), (0.8, 0.95), (0.95, 1.01)):
        among = (sure >= low) & (sure < high)
        assert among.sum() > 100
        assert abs(sure[among].mean() - right[among].mean()) < 3 * 0.5 / np.sqrt(among.sum())


def test_balanced_accuracy() -> None:
    expected, found = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    assert balanced_accuracy(expected, found) == pytest.approx((2 / 3 + 1) / 2)


def test_hue_and_pattern_can_be_seen_in_the_pictures() -> None:
    """Nearest class mean over a histogram of hues, and over one of edge directions."""
    generator = np.random.default_rng(0)
    hue, pattern = generator.integers(len(HUES), size=240), generator.integers(len(PATTERNS), size=240)
    pictures = [
        np.asarray(Image.open(io.BytesIO(render_picture(h, p, generator))).convert("HSV"), dtype=float)
        for h, p in zip(hue.tolist(), pattern.tolist(), strict=True)
    ]
    assert pictures[0].shape == (SIDE, SIDE, 3)
    colours = np.stack(
        [np.histogram(p[..., 0], 16, (0, 256), weights=p[..., 1])[0] / p[..., 1].sum() for p in pictures]
    )
    edges = np.stack([edge_directions(p[..., 2] / 255) for p in pictures])
    assert share_recovered(colours, hue) > 0.95
    assert share_recovered(edges, pattern) > 0.75
    assert share_recovered(colours, pattern) < 0.35  # and only there
    assert share_recovered(edges, hue) < 0.3


def edge_directions(light: NDArray[np.float64]) -> NDArray[np.float64]:
    down, right = np.gradient(light)
    direction = (np.arctan2(down, right) + np.pi / 16) % np.pi
    return np.histogram(direction, 8, (0, np.pi), weights=np.hypot(down, right))[0] / light.size


def test_use_and_material_can_be_read_in_the_descriptions() -> None:
    generator = np.random.default_rng(0)
    use, material = generator.integers(len(USES), size=400), generator.integers(len(MATERIALS), size=400)
    texts = [write_description(u, m, 0, generator) for u, m in zip(use.tolist(), material.tolist(), strict=True)]
    assert len(set(texts)) > 390
    words = sorted({word for text in texts for word in re.findall(r"[a-z]+", text.lower())})
    bags = np.array([[word in set(re.findall(r"[a-z]+", text.lower())) for word in words] for text in texts], float)
    assert share_recovered(bags, use) > 0.8  # chance is 0.125
    assert share_recovered(bags, material) > 0.8  # chance is 0.17; a sentence encoder finds both without an error


def share_recovered(features: NDArray[np.float64], label: NDArray[np.int64]) -> float:
    """How often the nearest mean of the even rows' classes names the class of an odd row."""
    means = np.stack([features[::2][label[::2] == value].mean(axis=0) for value in range(label.max() + 1)])
    distance = ((features[1::2, None] - means) ** 2).sum(axis=2)
    return float(np.mean(distance.argmin(axis=1) == label[1::2]))


def test_no_text_says_how_an_item_looks() -> None:
    generator = np.random.default_rng(0)
    written = " ".join(
        write_title(use, generator) + " " + write_description(use, material, mood, generator)
        for use, material, mood in itertools.product(range(len(USES)), range(len(MATERIALS)), range(5))
        for _ in range(5)
    )
    visual = {
        *HUES,
        *PATTERNS,
        "blue",
        "yellow",
        "pink",
        "purple",
        "orange",
        "black",
        "white",
        "colour",
        "striped",
        "dotted",
    }
    assert not visual & set(re.findall(r"[a-z]+", written.lower()))
    assert set(vocabulary.USE_WORDS) == set(USES)
    assert set(vocabulary.MATERIAL_WORDS) == set(MATERIALS)


def test_what_is_there_already_is_kept_or_refused(tmp_path: Path) -> None:
    out = tmp_path / "new" / "demo"
    write_demo(out, 1, **TINY)
    before = digest(out)
    assert write_demo(out, 1, **TINY).plan == DemoPlan(seed=1, **TINY)
    assert digest(out) == before
    with pytest.raises(DatasetError, match="found one with"):
        write_demo(out, 2, **TINY)
    (tmp_path / "mine").mkdir()
    with pytest.raises(DatasetError, match="does not exist yet"):
        write_demo(tmp_path / "mine", 1, **TINY)
    assert sorted(path.name for path in out.parent.iterdir()) == ["demo"]


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("training.data.demo.catalogue.render_picture", full)
    with pytest.raises(OSError, match="No space"):
        write_demo(tmp_path / "demo", 0, **TINY)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_or_foreign_truth_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"truth\.json"):
        read_truth(tmp_path)
    write_demo(tmp_path / "demo", 0, **TINY)
    path = tmp_path / "demo" / "truth.json"
    path.write_text(path.read_text().replace('"generator_version": 1', '"generator_version": 0'))
    with pytest.raises(DatasetError, match="expected generator version 1, found 0"):
        read_truth(tmp_path / "demo")


def test_sizes_too_small_to_plant_in_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="expected a seed"):
        write_demo(tmp_path / "demo", 0, n_items=5, n_users=40)


def test_the_command_writes_a_catalogue_and_reports_errors_without_a_traceback(tmp_path: Path) -> None:
    arguments = ["--out", str(tmp_path / "demo"), "--seed", "7", "--items", "60", "--users", "40"]
    result = CliRunner().invoke(demo_data, arguments)
    assert result.exit_code == 0, result.output
    assert "60 items, 40 users" in result.output
    assert read_truth(tmp_path / "demo").plan == replace(DemoPlan(seed=7), **TINY)
    result = CliRunner().invoke(demo_data, [*arguments, "--seed", "8"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
