"""Widening is exact for every number that a snapshot can hold."""

import numpy as np
import pytest

from model_store.half import widened


def test_every_finite_half_is_widened_to_its_very_bits() -> None:
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)]
    found, expected = widened(halves), halves.astype(np.float32)
    np.testing.assert_array_equal(found.view(np.int32), expected.view(np.int32))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_any_shape_and_order(dtype: type[np.floating]) -> None:
    array = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(dtype)
    for part in (array, array[1:, ::2], array.T, array[:0], array[0, 0, 0]):
        np.testing.assert_array_equal(widened(part), part.astype(np.float32))
        assert widened(part).dtype == np.float32
