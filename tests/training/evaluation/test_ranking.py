import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from training.errors import TrainingError
from training.evaluation.metrics import NOT_RANKED, positive_ranks
from training.evaluation.ranking import rank_positives, rank_users


def world(seed: int, n_users: int, n_items: int) -> tuple[np.ndarray, sparse.csr_array, sparse.csr_array]:
    """Scores with many ties and some `-inf`, seen items, and held-out positives (at least one per user)."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(-2, 3, (n_users, n_items)).astype(np.float32)
    scores[rng.random(scores.shape) < 0.1] = -np.inf
    seen = rng.random(scores.shape) < 0.2
    positive = ~seen & (rng.random(scores.shape) < 0.2)
    positive[np.arange(n_users), rng.integers(0, n_items, n_users)] = True
    return scores, sparse.csr_array(seen.astype(np.float32)), sparse.csr_array(positive.astype(np.float32))


def by_definition(scores: np.ndarray, seen: sparse.csr_array, k: int, candidates: np.ndarray) -> np.ndarray:
    ranked = np.full((len(scores), k), -1)
    for user, own in enumerate(scores):
        allowed = np.flatnonzero(candidates & (seen.toarray()[user] == 0) & (own > -np.inf))
        best = sorted(allowed, key=lambda item: (-own[item], item))[:k]
        ranked[user, : len(best)] = best
    return ranked


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 12), st.integers(1, 15), st.integers(1, 20), st.integers(1, 13))
def test_lists_are_exact_with_ties_by_row(seed: int, n_users: int, n_items: int, k: int, block: int) -> None:
    scores, seen, _ = world(seed, n_users, n_items)
    candidates = np.random.default_rng(seed).random(n_items) < 0.7
    users = np.arange(n_users)[::-1].astype(np.int64)
    ranked = rank_users(lambda rows: scores[rows], users, seen, k=k, candidates=candidates, block=block)
    np.testing.assert_array_equal(ranked, by_definition(scores, seen, k, candidates)[users])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 12), st.integers(1, 15), st.integers(1, 13))
def test_positive_ranks_agree_with_the_full_list(seed: int, n_users: int, n_items: int, block: int) -> None:
    scores, seen, positives = world(seed, n_users, n_items)
    users = np.arange(n_users, dtype=np.int64)
    ranks = rank_positives(lambda rows: scores[rows], positives, seen, users, block=block)
    lists = rank_users(lambda rows: scores[rows], users, seen, k=n_items)
    np.testing.assert_array_equal(ranks, positive_ranks(lists, positives))


def test_threads_do_not_show_in_the_ranks() -> None:
    scores, seen, positives = world(seed=3, n_users=40, n_items=9)
    users = np.arange(40, dtype=np.int64)
    found, before = [], torch.get_num_threads()
    for threads in (1, 4):
        torch.set_num_threads(threads)
        lists = rank_users(lambda rows: scores[rows], users, seen, block=3)
        found.append((lists, rank_positives(lambda rows: scores[rows], positives, seen, users, block=3)))
    torch.set_num_threads(before)
    for one, several in zip(*found, strict=True):
        np.testing.assert_array_equal(one, several)


def test_scores_are_not_written_to() -> None:
    scores, seen, positives = world(seed=1, n_users=5, n_items=9)
    before = scores.copy()
    users = np.arange(5, dtype=np.int64)
    rank_users(lambda rows: scores[: len(rows)], users, seen)
    rank_positives(lambda rows: scores[: len(rows)], positives, seen, users)
    np.testing.assert_array_equal(scores, before)


def test_a_seen_positive_has_no_rank() -> None:
    both = sparse.csr_array(np.array([[1.0, 0.0]], np.float32))
    ranks = rank_positives(lambda rows: np.zeros((len(rows), 2)), both, both, np.array([0]))
    assert ranks.tolist() == [NOT_RANKED]


def test_nan_names_user_and_item() -> None:
    scores = np.zeros((4, 6), np.float32)
    scores[2, 5] = np.nan
    nothing = sparse.csr_array(np.zeros((4, 6), np.float32))
    with pytest.raises(TrainingError, match="user row 2, item row 5"):
        rank_users(lambda rows: scores[rows], np.arange(4), nothing, block=2)


def test_wrong_shape_is_refused() -> None:
    nothing = sparse.csr_array(np.zeros((4, 6), np.float32))
    with pytest.raises(TrainingError, match=r"\(4, 6\), found \(4, 5\)"):
        rank_users(lambda rows: np.zeros((len(rows), 5)), np.arange(4), nothing)
