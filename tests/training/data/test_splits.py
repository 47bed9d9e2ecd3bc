"""Splits: what every rule has in common, and what each promises."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.support.strategies_data import datasets
from training.data.dataset import Dataset
from training.data.interactions import Interactions
from training.data.items import bare_items
from training.data.splits import (
    SPLIT_METHODS,
    Split,
    SplitMethod,
    everything,
    split_dataset,
    with_valid_in_train,
)
from training.errors import SplitError

METHODS_THAT_DRAW: tuple[SplitMethod, ...] = ("random", "cold-items")
seeds = st.integers(0, 1000)


def pairs(matrix: sp.csr_array[np.float32]) -> set[tuple[int, int]]:
    coordinates = matrix.tocoo()
    return set(zip(coordinates.row.tolist(), coordinates.col.tolist(), strict=True))


def small(users: list[int], items: list[int], **columns: list[int]) -> Dataset:
    """A dataset of a few interactions, with times and labels as given."""
    times, labels = columns.get("times"), columns.get("labels")
    interactions = Interactions(
        np.array(users, np.int32),
        np.array(items, np.int32),
        timestamp=None if times is None else np.array(times, float),
        given_split=None if labels is None else np.array(labels, np.int8),
    )
    table = bare_items(Path("nowhere"), [f"i{row}" for row in range(max(items) + 1)])
    return Dataset("small", [f"u{row}" for row in range(max(users) + 1)], table, interactions, {})


def split_or_discard(dataset: Dataset, method: SplitMethod, seed: int) -> Split:
    try:
        return split_dataset(dataset, method, seed=seed)
    except SplitError:
        assume(False)
        raise


@given(datasets(labelled=True), st.sampled_from(SPLIT_METHODS), seeds)
def test_parts_are_disjoint_complete_and_well_formed(dataset: Dataset, method: SplitMethod, seed: int) -> None:
    split = split_or_discard(dataset, method, seed)
    parts = (split.train, split.valid, split.test)
    given_pairs = list(zip(dataset.interactions.user_row.tolist(), dataset.interactions.item_row.tolist(), strict=True))
    assert sum(part.nnz for part in parts) == len(set(given_pairs))
    assert set().union(*(pairs(part) for part in parts)) == set(given_pairs)
    assert split.duplicates == len(given_pairs) - len(set(given_pairs))
    for part in parts:
        assert part.shape == (dataset.n_users, dataset.n_items)
        assert part.dtype == np.float32
        assert part.has_canonical_format
        assert part.indices.dtype == np.int32
        assert (part.data == 1).all()
        assert part.nnz > 0
    assert split.seed == seed
    assert split.name == ("given" if method == "auto" else method)


@given(datasets(), st.sampled_from(METHODS_THAT_DRAW), seeds)
def test_the_seed_alone_decides(dataset: Dataset, method: SplitMethod, seed: int) -> None:
    first, again = split_or_discard(dataset, method, seed), split_or_discard(dataset, method, seed)
    for name in ("train", "valid", "test"):
        assert pairs(getattr(first, name)) == pairs(getattr(again, name))
    assert first.cold_items.tolist() == again.cold_items.tolist()


def test_another_seed_draws_another_split() -> None:
    dataset = small([0] * 60, list(range(60)))
    first, second = (pairs(split_dataset(dataset, "random", seed=seed).test) for seed in (1, 2))
    assert first != second


@given(datasets(timed=False), seeds)
def test_random_holds_out_tenths_of_every_user(dataset: Dataset, seed: int) -> None:
    split = split_or_discard(dataset, "random", seed)
    for train, valid, test in zip(
        *(np.diff(part.indptr) for part in (split.train, split.valid, split.test)), strict=True
    ):
        count = train + valid + test
        assert valid == test == (0 if count < 3 else max(1, count // 10))
    assert split.train_order is None
    assert not split.cold_items.any()


def test_random_shares_are_not_robbed_by_binary_fractions() -> None:
    split = split_dataset(small([0] * 30, list(range(30))), "random", seed=0)  # 0.1 * 30 floors to 3, not to 2
    assert (split.train.nnz, split.valid.nnz, split.test.nnz) == (24, 3, 3)


def test_random_leaves_everyone_something_to_train_on() -> None:
    split = split_dataset(small([0, 0, 0], [0, 1, 2]), "random", seed=0, ratios=(0.05, 0.05, 0.9))
    assert (split.train.nnz, split.valid.nnz, split.test.nnz) == (1, 1, 1)


@given(datasets(), seeds)
def test_leave_last_keeps_each_users_order_of_time(dataset: Dataset, seed: int) -> None:
    split = split_or_discard(dataset, "leave-last", seed)
    latest = latest_times(dataset)
    for user_row in range(dataset.n_users):
        train, valid, test = (part.indices[slice(*part.indptr[user_row : user_row + 2])] for part in parts_of(split))
        if len(train) + len(valid) + len(test) < 3:
            assert len(valid) == len(test) == 0
            continue
        assert len(valid) == len(test) == 1
        before = max(latest[user_row, item] for item in train.tolist())
        assert before <= latest[user_row, int(valid[0])] <= latest[user_row, int(test[0])]


@given(datasets(), seeds)
def test_global_time_cuts_between_times(dataset: Dataset, seed: int) -> None:
    split = split_or_discard(dataset, "global-time", seed)
    latest = latest_times(dataset)
    train, valid, test = ([latest[pair] for pair in pairs(part)] for part in parts_of(split))
    assert max(train) < min(valid) <= max(valid) < min(test)
    trained = set(split.train.indices.tolist())
    later = set(split.valid.indices.tolist()) | set(split.test.indices.tolist())
    assert set(np.flatnonzero(split.cold_items).tolist()) == later - trained


@given(datasets(min_size=80), seeds)
def test_cold_items_are_in_one_held_out_part_only(dataset: Dataset, seed: int) -> None:
    split = split_or_discard(dataset, "cold-items", seed)
    in_train, in_valid, in_test = (np.bincount(part.indices, minlength=dataset.n_items) for part in parts_of(split))
    cold = split.cold_items
    taken = (in_train + in_valid + in_test) > 0
    assert cold.sum() == round(0.2 * taken.sum())
    assert not in_train[cold].any()
    assert ((in_valid[cold] > 0) ^ (in_test[cold] > 0)).all()
    assert abs((in_valid[cold] > 0).sum() - (in_test[cold] > 0).sum()) <= 1
    warm = dataset_without(dataset, cold)
    assert np.diff(split.valid[:, ~cold].indptr).tolist() == [0 if count < 3 else max(1, count // 10) for count in warm]


def test_given_follows_the_labels() -> None:
    split = split_dataset(small([0, 0, 1, 1], [0, 1, 0, 2], labels=[0, 1, 2, 0]), "given", seed=0)
    assert (pairs(split.train), pairs(split.valid), pairs(split.test)) == ({(0, 0), (1, 2)}, {(0, 1)}, {(1, 0)})


def test_auto_without_labels_is_random() -> None:
    assert split_dataset(small([0, 0, 0], [0, 1, 2]), "auto", seed=0).name == "random"


def test_of_repeated_interactions_the_latest_stays() -> None:
    split = split_dataset(
        small([0, 0, 0, 0], [0, 1, 0, 2], labels=[2, 0, 0, 1], times=[9, 1, 5, 3]), "leave-last", seed=0
    )
    assert split.duplicates == 1
    assert pairs(split.test) == {(0, 0)}  # at 9, although the file says 5 later
    untimed = small([0, 0, 0, 0], [0, 1, 0, 2], labels=[0, 0, 2, 1])
    assert pairs(split_dataset(untimed, "given", seed=0).test) == {(0, 0)}  # without times, the later line


@given(datasets(), seeds)
def test_history_is_oldest_first(dataset: Dataset, seed: int) -> None:
    split = split_or_discard(dataset, "random", seed)
    indptr, item_rows = split.history()
    latest = latest_times(dataset)
    assert item_rows.dtype == np.int32
    assert indptr.tolist() == split.train.indptr.tolist()
    for user_row in range(dataset.n_users):
        history = item_rows[indptr[user_row] : indptr[user_row + 1]].tolist()
        assert set(history) == {item for user, item in pairs(split.train) if user == user_row}
        times = [latest[user_row, item] for item in history]
        assert times == sorted(times)


def test_history_takes_equal_times_in_file_order() -> None:
    history = everything(small([1, 0, 1, 1], [2, 0, 1, 0], times=[5, 5, 5, 1])).history()
    assert history[0].tolist() == [0, 1, 4]
    assert history[1].tolist() == [0, 0, 2, 1]


@given(datasets(labelled=True), st.sampled_from(SPLIT_METHODS), seeds)
def test_validation_joins_train_and_the_test_stays(dataset: Dataset, method: SplitMethod, seed: int) -> None:
    split = split_or_discard(dataset, method, seed)
    joined = with_valid_in_train(dataset, split)
    assert pairs(joined.train) == pairs(split.train) | pairs(split.valid)
    assert pairs(joined.test) == pairs(split.test)
    assert joined.valid.nnz == 0
    assert not joined.cold_items[joined.train.indices].any()
    assert not (joined.cold_items & ~split.cold_items).any()
    if method == "leave-last":  # the last of a history is now what validation asked for
        indptr, items = joined.history()
        for user in np.flatnonzero(np.diff(split.valid.indptr)):
            assert items[indptr[user + 1] - 1] == split.valid[[user]].indices[0]


def test_everything_is_in_train() -> None:
    split = everything(small([0, 0, 1, 0], [0, 1, 0, 1]))
    assert (split.train.nnz, split.valid.nnz, split.test.nnz, split.duplicates) == (3, 0, 0, 1)


@pytest.mark.parametrize("method", ["leave-last", "global-time"])
def test_absent_times_are_an_error(method: SplitMethod) -> None:
    with pytest.raises(SplitError, match="needs a column 'timestamp'"):
        split_dataset(small([0, 0, 0], [0, 1, 2]), method, seed=0)


def test_absent_labels_are_an_error() -> None:
    with pytest.raises(SplitError, match="needs a column 'x_label'"):
        split_dataset(small([0, 0, 0], [0, 1, 2]), "given", seed=0)


@pytest.mark.parametrize(
    ("dataset", "method", "part"),
    [
        (small([0, 0, 0], [0, 1, 2], labels=[0, 0, 2]), "given", "valid"),
        (small([0, 0, 0], [0, 1, 2], labels=[1, 1, 2]), "given", "train"),
        (small([0, 1, 1], [0, 1, 2]), "random", "valid"),
        (small([0, 1, 1], [0, 1, 2], times=[1, 2, 3]), "leave-last", "valid"),
        (small([0, 1, 1], [0, 1, 2], times=[1, 1, 1]), "global-time", "train"),
        (small([0, 0, 0], [0, 1, 2]), "cold-items", "valid"),
    ],
)
def test_an_empty_part_is_an_error(dataset: Dataset, method: SplitMethod, part: str) -> None:
    if method == "cold-items":  # too few items to hold any out, and none left to hold out at random either
        dataset = replace(dataset, interactions=Interactions(np.zeros(2, np.int32), np.arange(2, dtype=np.int32)))
    with pytest.raises(SplitError, match=f"leaves {part} empty"):
        split_dataset(dataset, method, seed=0)


@pytest.mark.parametrize("ratios", [(0.8, 0.1, 0.2), (1.2, -0.1, -0.1), (float("nan"), 0.1, 0.1)])
def test_ratios_must_be_shares(ratios: tuple[float, float, float]) -> None:
    with pytest.raises(SplitError, match="sum to 1"):
        split_dataset(small([0, 0, 0], [0, 1, 2]), "random", seed=0, ratios=ratios)


def test_an_unknown_method_is_an_error() -> None:
    with pytest.raises(SplitError, match="expected a split method"):
        split_dataset(small([0, 0, 0], [0, 1, 2]), "weekly", seed=0)  # type: ignore[arg-type]


@settings(max_examples=20)
@given(datasets(), seeds)
def test_the_order_of_lines_does_not_matter_where_times_differ(dataset: Dataset, seed: int) -> None:
    given_order = dataset.interactions
    times = np.arange(len(given_order), dtype=float)
    shuffle = np.random.default_rng(seed).permutation(len(given_order))
    one = replace(dataset, interactions=replace(given_order, timestamp=times))
    other = replace(
        dataset,
        interactions=Interactions(given_order.user_row[shuffle], given_order.item_row[shuffle], times[shuffle]),
    )
    for method in ("random", "leave-last"):
        first, second = (split_or_discard(which, method, seed) for which in (one, other))
        assert pairs(first.test) == pairs(second.test)
        assert first.history()[1].tolist() == second.history()[1].tolist()


def parts_of(split: Split) -> tuple[sp.csr_array[np.float32], ...]:
    return split.train, split.valid, split.test


def latest_times(dataset: Dataset) -> dict[tuple[int, int], float]:
    """When each user last took each item."""
    given_rows = dataset.interactions
    assert given_rows.timestamp is not None
    latest: dict[tuple[int, int], float] = {}
    for user, item, time in zip(
        given_rows.user_row.tolist(), given_rows.item_row.tolist(), given_rows.timestamp.tolist(), strict=True
    ):
        latest[user, item] = max(time, latest.get((user, item), -1.0))
    return latest


def dataset_without(dataset: Dataset, items: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> list[int]:
    """How many distinct items outside `items` every user took."""
    taken = set(zip(dataset.interactions.user_row.tolist(), dataset.interactions.item_row.tolist(), strict=True))
    counts = Counter(user for user, item in taken if not items[item])
    return [counts[user_row] for user_row in range(dataset.n_users)]
