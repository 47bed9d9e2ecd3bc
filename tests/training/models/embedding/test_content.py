"""The directed neighbour graph of published models, against its definition item by item."""

import numpy as np
import pytest

from training.data.features import FeatureMatrix
from training.models.embedding.content import directed_knn


def cosine(values: np.ndarray) -> np.ndarray:
    centred = values - values.mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(unit @ unit.T)


@pytest.mark.parametrize("weighted", [True, False])
def test_each_row_is_the_item_and_its_nearest(weighted: bool) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(15, 4)).astype(np.float32)
    found = directed_knn(FeatureMatrix("x", values, np.ones(15, bool)), 4, weighted=weighted).toarray()
    similar = cosine(values)
    expected = np.zeros((15, 15))
    for item in range(15):
        others = [j for j in np.argsort(-similar[item]) if j != item and similar[item, j] > 0][:3]
        for j in (item, *others):
            expected[item, j] = (1 if j == item else similar[item, j]) if weighted else 1
    root = np.sqrt(expected.sum(axis=1))
    np.testing.assert_allclose(found, expected / root[:, None] / root[None], atol=1e-5)


def test_an_item_without_the_modality_keeps_to_itself() -> None:
    rng = np.random.default_rng(1)
    present = np.array([True] * 7 + [False])
    values = (rng.normal(size=(8, 3)) * present[:, None]).astype(np.float32)
    found = directed_knn(FeatureMatrix("x", values, present), 3, weighted=False).toarray()
    np.testing.assert_array_equal(found[7], np.eye(8)[7])
    assert not found[:7, 7].any()
