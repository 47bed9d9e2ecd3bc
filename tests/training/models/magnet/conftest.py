"""Fitted models that several tests read and none changes."""

from collections.abc import Callable
from functools import cache

import pytest

from tests.support.tiny_dataset import WIDTHS, tiny_dataset
from tests.support.tiny_magnet import Fit, fit_magnet


@pytest.fixture(scope="session")
def fit_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, int], Fit]:
    """By number of modalities (behaviour included) and number of members; each fitted once."""

    @cache
    def fit(n_modalities: int, members: int) -> Fit:
        dataset = tiny_dataset(list(WIDTHS)[: n_modalities - 1], seed=n_modalities)
        return fit_magnet(dataset, tmp_path_factory.mktemp(f"magnet-{n_modalities}-{members}"), members=members)

    return fit


@pytest.fixture(scope="session")
def three(fit_of: Callable[[int, int], Fit]) -> Fit:
    """Behaviour, visual and textual, one member."""
    return fit_of(3, 1)
