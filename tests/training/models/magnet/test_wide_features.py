"""What the leading directions keep of features that are wider than a base reads."""

import numpy as np
import torch

from training.models.magnet.wide_features import leading_directions


def rows_of(spectrum: np.ndarray, n: int = 400) -> torch.Tensor:
    """(n, d) with these singular values."""
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.normal(size=(size, len(spectrum))))[0] for size in (n, len(spectrum)))
    return torch.from_numpy((left * spectrum @ right.T).astype(np.float32))


def test_nearly_as_much_is_kept_as_can_be() -> None:
    """Also of a spectrum that falls slowly."""
    for power in (0.5, 1.0):
        spectrum = np.arange(1, 201.0) ** -power
        rows = rows_of(spectrum)
        directions = leading_directions(rows, 32)
        torch.testing.assert_close(directions.T @ directions, torch.eye(32), rtol=0, atol=1e-5)
        kept = float((rows @ directions).square().sum()) / np.square(spectrum[:32]).sum()
        assert 0.99 < kept <= 1 + 1e-5


def test_nothing_is_lost_of_rows_of_no_greater_rank() -> None:
    spectrum = np.r_[np.ones(10), np.zeros(190)]
    rows = rows_of(spectrum)
    directions = leading_directions(rows, 16)
    torch.testing.assert_close(rows @ directions @ directions.T, rows, rtol=0, atol=1e-5)


def test_the_same_rows_give_the_same_directions_whatever_was_drawn_before() -> None:
    rows = rows_of(np.arange(1, 101.0) ** -1)
    first = leading_directions(rows, 8)
    state = torch.get_rng_state()
    torch.randn(3)
    assert torch.equal(leading_directions(rows, 8), first)
    torch.set_rng_state(state)
