"""Blocks of users, in as many threads as torch has: NumPy, SciPy and torch let go of the interpreter meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import torch


def in_threads(work: Callable[[int], None], starts: Iterable[int]) -> None:
    """Do `work` on every start, without gradients; what it writes must not depend on the order.

    Each thread computes with one thread of its own: operations on one block are too short to be shared out.
    """
    starts, threads = list(starts), torch.get_num_threads()

    def without_gradients(start: int) -> None:
        with torch.no_grad():
            work(start)

    if min(threads, len(starts)) < 2:
        for start in starts:
            without_gradients(start)
        return
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(without_gradients, starts):
                pass
    finally:
        torch.set_num_threads(threads)
