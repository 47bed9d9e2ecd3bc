"""Checkpoints and the data they were fitted on: what counts as the same, and what is said of what is not."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.tiny_dataset import tiny_dataset
from training.config import ConfigError
from training.data.dataset import Dataset
from training.data.splits import split_dataset
from training.fit.checkpoint import save_checkpoint
from training.fit.run import Run
from training.same_data import check_same_data, digest_of_test, digests

DATASET = tiny_dataset()
SPLIT = split_dataset(DATASET, "random", seed=0)


def with_ids(*, users: list[str] | None = None, items: list[str] | None = None) -> Dataset:
    table = replace(DATASET.items, item_ids=items or DATASET.items.item_ids)
    return replace(DATASET, user_ids=users or DATASET.user_ids, items=table)


def test_the_same_data_are_accepted_again(tmp_path: Path) -> None:
    check_same_data(Run(tmp_path), DATASET, SPLIT)
    for resume in (True, False):
        check_same_data(Run(tmp_path, resume=resume), tiny_dataset(), split_dataset(tiny_dataset(), "random", seed=0))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["data.json"]


@pytest.mark.parametrize("resume", [True, False])
def test_whatever_differs_is_named(tmp_path: Path, resume: bool) -> None:
    check_same_data(Run(tmp_path), DATASET, SPLIT)
    run = Run(tmp_path, resume=resume)
    other_seed = split_dataset(DATASET, "random", seed=1)
    with pytest.raises(ConfigError, match=r"\(training part, validation part, test part\).* another --out"):
        check_same_data(run, DATASET, other_seed)
    with pytest.raises(ConfigError, match=r"\(validation part, test part\)"):
        check_same_data(run, DATASET, replace(SPLIT, valid=SPLIT.test, test=SPLIT.valid))
    with pytest.raises(ConfigError, match=r"\(users\)"):
        check_same_data(run, with_ids(users=[*DATASET.user_ids[1:], DATASET.user_ids[0]]), SPLIT)
    with pytest.raises(ConfigError, match=r"\(items\)"):
        check_same_data(run, with_ids(items=[*DATASET.items.item_ids[1:], "another"]), SPLIT)


def test_the_order_of_what_is_trained_on_counts_too(tmp_path: Path) -> None:
    check_same_data(Run(tmp_path), DATASET, SPLIT)
    assert SPLIT.train_order is not None
    turned = replace(SPLIT, train_order=SPLIT.train_order.max() - SPLIT.train_order)
    with pytest.raises(ConfigError, match=r"\(training part\)"):
        check_same_data(Run(tmp_path, resume=True), DATASET, turned)


def test_other_content_is_named(tmp_path: Path) -> None:
    check_same_data(Run(tmp_path), DATASET, SPLIT)
    run = Run(tmp_path, resume=True)
    name, other = sorted(DATASET.features)
    matrix = DATASET.features[name]
    values, present = matrix.values.copy(), matrix.present.copy()
    values[3, 0] += 1
    present[3] = not present[3]
    for changed in (replace(matrix, values=values), replace(matrix, present=present)):
        with pytest.raises(ConfigError, match=rf"\({name} content\)"):
            check_same_data(run, replace(DATASET, features=DATASET.features | {name: changed}), SPLIT)
    with pytest.raises(ConfigError, match=rf"\({name} content\)"):
        check_same_data(run, replace(DATASET, features={other: DATASET.features[other]}), SPLIT)
    with pytest.raises(ConfigError, match=r"\(acoustic content\)"):
        check_same_data(run, replace(DATASET, features=DATASET.features | {"acoustic": matrix}), SPLIT)


def test_checkpoints_of_a_version_that_wrote_nothing_down_are_read_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run(tmp_path, resume=True)
    save_checkpoint(run.checkpoints / "fit.pt", {"step": 1})
    with caplog.at_level(logging.WARNING):
        check_same_data(run, DATASET, SPLIT)
    assert "not checked" in caplog.text
    assert not (run.checkpoints / "data.json").exists()


@pytest.mark.parametrize("content", ["{", "3"])
def test_a_damaged_record_is_named(tmp_path: Path, content: str) -> None:
    run = Run(tmp_path, resume=True)
    run.checkpoints.mkdir()
    (run.checkpoints / "data.json").write_text(content)
    with pytest.raises(ConfigError, match=r"data\.json"):
        check_same_data(run, DATASET, SPLIT)


def test_the_width_of_indices_is_no_difference() -> None:
    wide = SPLIT.test.copy()
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
    assert digests(DATASET, replace(SPLIT, test=wide)) == digests(DATASET, SPLIT)


def test_the_tests_digest_is_of_users_items_and_test_alone() -> None:
    found = digest_of_test(DATASET, SPLIT)
    assert digest_of_test(DATASET, replace(SPLIT, train=SPLIT.valid, train_order=None, valid=SPLIT.train)) == found
    others = [
        (DATASET, replace(SPLIT, test=SPLIT.valid)),
        (with_ids(users=[*DATASET.user_ids[1:], "another"]), SPLIT),
        (with_ids(items=[*DATASET.items.item_ids[1:], "another"]), SPLIT),
    ]
    assert found not in [digest_of_test(*other) for other in others]
