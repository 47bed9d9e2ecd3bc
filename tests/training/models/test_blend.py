"""The search for the item-item term's weight."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from training.models.blend import best_weight, even_weight
from training.models.item_item import ItemItem


@pytest.mark.parametrize("peak", [0.01, 0.3, 2.0, 11.0, 700.0])
def test_the_best_weight_is_found_to_within_the_square_root_of_two(peak: float) -> None:
    found = best_weight(lambda weight: -abs(weight - peak) / (weight + peak))
    assert peak / 2**0.5 <= found <= peak * 2**0.5


def test_a_term_that_only_hurts_gets_no_weight() -> None:
    assert best_weight(lambda weight: -weight) == 0.0


def test_evidence_and_base_vary_alike_under_the_even_weight() -> None:
    items, values = np.array([1, 0, 0], np.int32), np.array([[0.5], [1.0], [0.25]], np.float32)
    term = ItemItem(np.array([0, 1, 2, 3]), items, values, ("behaviour",), {})
    histories = sparse.csr_array(np.array([[1, 0, 0], [0, 0, 0], [0, 0, 1]], np.float32))
    scores = np.array([[0.0, 3.0, 0.0], [9.0, -9.0, 0.0], [6.0, 0.0, 0.0]], np.float32)
    # of a row with one entry x among three the deviation is x √2/3: (3 + 6) against (0.5 + 0.25), nobody else counts
    assert even_weight(lambda rows: scores[rows], histories, term) == pytest.approx((3 + 6) / (0.5 + 0.25))
