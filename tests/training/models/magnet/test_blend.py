"""The search for the item-item term's weight."""

from __future__ import annotations

import pytest

from training.models.magnet.blend import best_weight


@pytest.mark.parametrize("peak", [0.01, 0.3, 2.0, 11.0, 700.0])
def test_the_best_weight_is_found_to_within_the_square_root_of_two(peak: float) -> None:
    found = best_weight(lambda weight: -abs(weight - peak) / (weight + peak))
    assert peak / 2**0.5 <= found <= peak * 2**0.5


def test_a_term_that_only_hurts_gets_no_weight() -> None:
    assert best_weight(lambda weight: -weight) == 0.0
