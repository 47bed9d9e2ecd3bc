"""Neighbours by behaviour, against dense cosines."""

import numpy as np
import pytest

from training.graph import together
from training.graph.together import together_lists


def test_neighbours_are_those_of_the_dense_cosines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "BLOCK", 7)
    rng = np.random.default_rng(3)
    taken = rng.random((40, 30)) < 0.2
    taken[:, 29] = False  # nobody takes the last item
    indptr = np.concatenate(([0], np.cumsum(taken.sum(axis=1))))
    found = together_lists(indptr, np.nonzero(taken)[1].astype(np.int32), 30, k=5)
    lengths = np.maximum(np.sqrt(taken.sum(axis=0)), 1)
    cosines = (taken.T.astype(float) @ taken) / lengths[:, None] / lengths
    np.fill_diagonal(cosines, 0)
    for item in range(30):
        best = np.lexsort((np.arange(30), -cosines[item].round(9)))[:5]
        best = best[cosines[item, best] > 0]
        assert found.items[item].tolist() == [*best, *[-1] * (5 - len(best))]
        np.testing.assert_allclose(found.values[item, : len(best)], cosines[item, best], rtol=1e-6)
    assert (found.items[29] == -1).all()


def test_only_the_latest_of_a_long_history_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "LATEST", 2)
    # one user took 0, 1, 2 in this order, another 0 and 1: of the first the 0 is forgotten
    found = together_lists(np.array([0, 3, 5]), np.array([0, 1, 2, 0, 1], np.int32), 3, k=2)
    assert found.items.tolist() == [[1, -1], [0, 2], [1, -1]]
    np.testing.assert_allclose(found.values[1], [1 / np.sqrt(2), 1 / np.sqrt(2)])
