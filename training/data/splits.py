"""Splits of a dataset's interactions into train, valid and test: one function per rule, all deterministic by seed.

Axes: U users, I items, N distinct positives. A rule gives every positive a part (0 train, 1 valid, 2 test); everything
else, from merging duplicates to matrices, is shared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from training.data.dataset import Dataset
from training.data.positives import Positives, merge_duplicates
from training.errors import SplitError

SplitMethod = Literal["given", "random", "leave-last", "global-time", "cold-items", "auto"]
SPLIT_METHODS: tuple[SplitMethod, ...] = get_args(SplitMethod)
DRAWN_BY_SEED: frozenset[str] = frozenset({"random", "cold-items"})
"""Splits of which each seed has its own test; the others are the same whatever the seed."""
PARTS = ("train", "valid", "test")
TRAIN, VALID, TEST = np.int8(0), np.int8(1), np.int8(2)
FEWEST_TO_SPLIT = 3
"""Users with fewer positives keep all of them in train, as in MMRec."""
COLD_SHARE = 0.2
"""Share of the items with interactions that `cold-items` keeps out of train; half of them are valid's, half test's."""

PartMatrix = sp.csr_array[np.float32]


@dataclass(frozen=True)
class Split:
    """Three disjoint matrices (U, I) of float32 ones with sorted indices, duplicates merged."""

    train: PartMatrix
    valid: PartMatrix
    test: PartMatrix
    train_order: NDArray[np.int64] | None
    """(train.nnz,) rank in time of every stored entry of `train`, over all users; None where the data have no times."""
    cold_items: NDArray[np.bool_]
    """(I,) items that the split itself keeps out of train: held out by `cold-items`, too new under `global-time`."""
    name: str
    seed: int
    duplicates: int = 0
    """How many interactions were merged into a later one of the same user and item."""

    def history(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Return each user's training items, oldest first (by item row where there are no times).

        The first array is (U + 1,) offsets into the second, which is (train.nnz,) item rows.
        """
        indptr = self.train.indptr.astype(np.int64)
        item_rows = self.train.indices.astype(np.int32)
        if self.train_order is not None:
            user_rows = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
            item_rows = item_rows[np.lexsort((self.train_order, user_rows))]
        return indptr, item_rows


def split_dataset(
    dataset: Dataset, method: SplitMethod, *, seed: int, ratios: tuple[float, float, float] = (0.8, 0.1, 0.1)
) -> Split:
    """Split by one of `SPLIT_METHODS`; `ratios` are the shares of train, valid and test.

    - given: the file's own `x_label`;
    - random: per user at random, at least one valid and one test positive;
    - leave-last: each user's last positive is test, the one before valid;
    - global-time: two points in time cut all interactions by `ratios`; equal times stay together;
    - cold-items: 20 % of the items have all their interactions in valid (half of these items) or test (the other half),
      the rest is split as in random;
    - auto: given where there are labels, else random.

    Users with fewer than three positives keep all in train under random, leave-last and the warm rest of cold-items.
    Raises SplitError where times or labels are needed and absent, ratios are no shares, or a part would be empty.
    """
    if method not in SPLIT_METHODS:
        raise SplitError(f"expected a split method out of {', '.join(SPLIT_METHODS)}, found {method!r}")
    if len(ratios) != 3 or not all(0 <= share <= 1 for share in ratios) or abs(sum(ratios) - 1) > 1e-6:
        raise SplitError(f"expected three shares of train, valid and test that sum to 1, found {ratios}")
    positives = merge_duplicates(dataset)
    if method == "auto":
        method = "random" if positives.given_split is None else "given"
    generator = np.random.default_rng(seed)
    cold_items = np.zeros(positives.n_items, dtype=np.bool_)
    if method == "given":
        part = _given(dataset.name, positives)
    elif method == "random":
        part = _random(positives, ratios, generator)
    elif method == "leave-last":
        part = _leave_last(dataset.name, positives)
    elif method == "global-time":
        part = _global_time(dataset.name, positives, ratios)
        cold_items[positives.item_row[part != TRAIN]] = True
        cold_items[positives.item_row[part == TRAIN]] = False
    else:
        part, cold_items = _cold_items(positives, ratios, generator)
    for code, name in enumerate(PARTS):
        if not np.any(part == code):
            raise SplitError(
                f"{dataset.name}: expected interactions in every part, but the split {method!r} leaves {name} empty "
                f"({len(part)} interactions of {positives.n_users} users; users with fewer than "
                f"{FEWEST_TO_SPLIT} positives are not split)"
            )
    return _assemble(positives, part, cold_items, method, seed)


def everything(dataset: Dataset, *, seed: int = 0) -> Split:
    """Return the split with all interactions in train, which a refit before export is fitted on."""
    positives = merge_duplicates(dataset)
    part = np.zeros(len(positives.user_row), dtype=np.int8)
    return _assemble(positives, part, np.zeros(positives.n_items, dtype=np.bool_), "everything", seed)


def with_valid_in_train(dataset: Dataset, split: Split) -> Split:
    """Return the split with its validation positives in train and an empty validation part; the test stays."""
    positives = merge_duplicates(dataset)
    pair = positives.user_row.astype(np.int64) * positives.n_items + positives.item_row
    tested = split.test.tocoo()
    part = np.where(np.isin(pair, tested.row.astype(np.int64) * positives.n_items + tested.col), TEST, TRAIN)
    cold_items = split.cold_items.copy()
    cold_items[positives.item_row[part == TRAIN]] = False
    return _assemble(positives, part, cold_items, split.name, split.seed)


def _given(name: str, positives: Positives) -> NDArray[np.int8]:
    if positives.given_split is None:
        raise SplitError(f"{name}: the split 'given' needs a column 'x_label' with 0, 1 and 2, found none")
    return positives.given_split


def _random(
    positives: Positives, ratios: tuple[float, float, float], generator: np.random.Generator
) -> NDArray[np.int8]:
    shuffled = generator.permutation(len(positives.user_row))
    return _cut_at_random(positives.user_row, shuffled, ratios, positives.n_users)


def _cut_at_random(
    user_row: NDArray[np.int32], shuffled: NDArray[np.int64], ratios: tuple[float, float, float], n_users: int
) -> NDArray[np.int8]:
    """Hold out max(1, ⌊share · n⌋) of a user's n positives for valid and for test: MMRec's rule."""
    counts = np.bincount(user_row, minlength=n_users)
    n_valid, n_test = (
        # the tolerance gives back what binary fractions take from 0.1 · 30
        np.maximum(1, np.floor(counts * share + 1e-9).astype(np.int64)) if share > 0 else np.zeros_like(counts)
        for share in ratios[1:]
    )
    return _cut_per_user(user_row, shuffled, n_valid, np.minimum(n_test, counts - n_valid - 1))


def _leave_last(name: str, positives: Positives) -> NDArray[np.int8]:
    _need_times(name, "leave-last", positives)
    one = np.ones(positives.n_users, dtype=np.int64)
    return _cut_per_user(positives.user_row, positives.order, one, one)


def _cut_per_user(
    user_row: NDArray[np.int32], order: NDArray[np.int64], n_valid: NDArray[np.int64], n_test: NDArray[np.int64]
) -> NDArray[np.int8]:
    """Give each user's last `n_test` (U,) by `order` to test, the `n_valid` (U,) before to valid, the rest to train."""
    counts = np.bincount(user_row, minlength=len(n_valid))
    enough = counts >= FEWEST_TO_SPLIT
    n_test = np.where(enough, n_test, 0)
    n_valid = np.where(enough, n_valid, 0)
    by_user = np.lexsort((order, user_row))
    owner = user_row[by_user]
    from_end = np.cumsum(counts)[owner] - np.arange(len(owner))  # 1 for a user's last
    part = np.empty(len(owner), dtype=np.int8)
    part[by_user] = np.where(
        from_end <= n_test[owner], TEST, np.where(from_end <= (n_test + n_valid)[owner], VALID, TRAIN)
    )
    return part


def _global_time(name: str, positives: Positives, ratios: tuple[float, float, float]) -> NDArray[np.int8]:
    times = _need_times(name, "global-time", positives)
    in_order = np.append(np.sort(times), np.inf)
    valid_from, test_from = (in_order[round(share * len(times))] for share in (ratios[0], ratios[0] + ratios[1]))
    return np.where(times < valid_from, TRAIN, np.where(times < test_from, VALID, TEST)).astype(np.int8)


def _cold_items(
    positives: Positives, ratios: tuple[float, float, float], generator: np.random.Generator
) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    candidates = np.unique(positives.item_row)
    cold = generator.permutation(candidates)[: round(COLD_SHARE * len(candidates))]
    part_of_item = np.full(positives.n_items, TRAIN)
    part_of_item[cold[: len(cold) // 2]] = VALID
    part_of_item[cold[len(cold) // 2 :]] = TEST
    part = part_of_item[positives.item_row]
    warm = np.flatnonzero(part == TRAIN)
    shuffled = generator.permutation(len(warm))
    part[warm] = _cut_at_random(positives.user_row[warm], shuffled, ratios, positives.n_users)
    return part, part_of_item != TRAIN


def _need_times(name: str, method: str, positives: Positives) -> NDArray[np.float64]:
    if positives.timestamp is None:
        raise SplitError(f"{name}: the split {method!r} needs a column 'timestamp', found none")
    return positives.timestamp


def _assemble(
    positives: Positives, part: NDArray[np.int8], cold_items: NDArray[np.bool_], name: str, seed: int
) -> Split:
    in_train = part == TRAIN
    return Split(
        train=_matrix(positives, in_train),
        valid=_matrix(positives, part == VALID),
        test=_matrix(positives, part == TEST),
        train_order=None if positives.timestamp is None else positives.order[in_train],
        cold_items=cold_items,
        name=name,
        seed=seed,
        duplicates=positives.duplicates,
    )


def _matrix(positives: Positives, chosen: NDArray[np.bool_]) -> PartMatrix:
    """Positives are sorted by (user, item), so a selection of them is a CSR matrix as it stands."""
    item_row = positives.item_row[chosen]
    counts = np.bincount(positives.user_row[chosen], minlength=positives.n_users)
    indptr: NDArray[np.int32 | np.int64] = np.append(0, np.cumsum(counts))
    if len(item_row) <= np.iinfo(np.int32).max:
        indptr = indptr.astype(np.int32)  # else SciPy widens the indices, as it wants one type for both
    ones = np.ones(len(item_row), dtype=np.float32)
    return sp.csr_array((ones, item_row, indptr), shape=(positives.n_users, positives.n_items))
