"""A page and its records hold the same numbers, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.printed import Page
from service.records import Form, RecordedPage

FIELDS = ("rows", "chosen", "numbers", "modality_amounts")
TERMS, MODALITIES = 5, 3
SCORES = st.floats(-2000, 2000).map(lambda value: round(value, 6) + 0.0)


@st.composite
def pages(draw: st.DrawFn, scores: st.SearchStrategy[float] = SCORES) -> Page:
    items = draw(st.integers(0, 6))
    bits = [draw(st.lists(st.booleans(), min_size=2 * TERMS, max_size=2 * TERMS)) for _ in range(items)]
    chosen = np.packbits(np.array(bits, np.bool_).reshape(items, 2 * TERMS), axis=1, bitorder="little")
    count = items + int(np.sum(bits))
    amounts = np.array([draw(scores) for _ in range(items * MODALITIES)]).reshape(items, MODALITIES)
    rows = np.array(draw(st.lists(st.integers(0, 2**31 - 1), min_size=items, max_size=items)), np.int64)
    return Page(rows, chosen, np.array([draw(scores) for _ in range(count)]), amounts)


@given(page=pages(st.floats(allow_nan=False, allow_infinity=False)))
def test_any_page(page: Page) -> None:
    recorded = RecordedPage.of(page)
    again = RecordedPage(recorded.form, recorded.data)
    assert len(again) == len(page)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(again, name), getattr(page, name), strict=True)
    assert RecordedPage.of(again) is again


@given(page=pages())
def test_printed_numbers_in_millionths(page: Page) -> None:
    form = Form(whole=True, numbers=1 + 2 * TERMS, modalities=MODALITIES, chosen=page.chosen.shape[1])
    records = form.records(page)
    assert records is not None
    again = RecordedPage(form, records.tobytes())
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(again, name), getattr(page, name), strict=True)


@pytest.mark.parametrize(("score", "amount", "numbers", "fits"), [
    (2147.0, -2147.0, 2, True), (2148.0, 1.0, 2, False), (1.0, -2148.0, 2, False), (1.0, 1.0, 1, False),
])  # fmt: skip
def test_what_does_not_fit_is_refused(score: float, amount: float, numbers: int, fits: bool) -> None:
    page = Page(np.array([4]), np.array([[1]], np.uint8), np.array([score, score]), np.array([[amount]]))
    assert (Form(whole=True, numbers=numbers, modalities=1, chosen=1).records(page) is not None) == fits
