from collections.abc import Iterator

import numpy as np
import pytest
import torch

from training.evaluation.blocks import in_threads


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_every_block_once_without_gradients_and_with_as_many_threads_as_before(threads: int) -> None:
    done, weight = np.zeros(7, np.int64), torch.ones(1, requires_grad=True)

    def work(start: int) -> None:
        assert not (weight * 2).requires_grad
        assert torch.get_num_threads() == 1
        done[start] += 1

    in_threads(work, range(7))
    assert done.tolist() == [1] * 7
    assert torch.get_num_threads() == threads
    assert (weight * 2).requires_grad


def test_an_error_in_a_block_comes_out(threads: int) -> None:
    def work(start: int) -> None:
        raise ValueError(f"block {start}")

    with pytest.raises(ValueError, match="block 0"):
        in_threads(work, range(5))
    assert torch.get_num_threads() == threads
