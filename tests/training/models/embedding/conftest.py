"""The data that vector models are fitted on in these tests."""

import pytest

from tests.support.tiny_dataset import tiny_dataset
from training.data.dataset import Dataset
from training.data.splits import Split, split_dataset


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    return tiny_dataset()


@pytest.fixture(scope="session")
def split(dataset: Dataset) -> Split:
    return split_dataset(dataset, "random", seed=1)
