"""Which pairs are measured: served ones, with the modality, and clear of whatever else is masked."""

import numpy as np
import pytest

from model_store.draft import SnapshotDraft
from model_store.scoring import scorer_for
from tests.support.planted import item_item_draft
from training.evaluation.explanation.masking import USERS_PER_ITEM, batches, items_at_once, served_pairs
from training.evaluation.explanation.served import SHOWN, served, served_items

N_USERS, N_ITEMS = 80, 450


@pytest.fixture(scope="module")
def draft() -> SnapshotDraft:
    rng = np.random.default_rng(0)
    histories = [np.sort(rng.choice(N_ITEMS, 12, replace=False)) for _ in range(N_USERS)]
    indptr = np.arange(0, 12 * N_USERS + 1, 12)
    weights = {name: rng.random((N_ITEMS, N_ITEMS)) * np.linspace(0.5, 1, N_ITEMS) for name in ("behaviour", "visual")}
    return item_item_draft(indptr, np.concatenate(histories), weights)


def test_a_list_is_the_exact_best_of_what_is_unseen(draft: SnapshotDraft) -> None:
    scorer = scorer_for(draft)
    scores = scorer.score_all(scorer.known_user(3))
    scores[draft.history(3)] = -np.inf
    expected = np.argsort(-scores, kind="stable")[:SHOWN]
    assert served_items(scorer, draft, scorer.known_user(3), 3).tolist() == expected.tolist()
    assert served(scorer, draft, 3).item_rows.tolist() == expected.tolist()


def test_margins_sum_to_the_lists_lead_in_score(draft: SnapshotDraft) -> None:
    scorer = scorer_for(draft)
    scores = scorer.score_all(scorer.known_user(3))
    found = served(scorer, draft, 3)
    unseen = np.setdiff1d(np.arange(N_ITEMS), draft.history(3))
    assert found.margin.sum() == pytest.approx(scores[found.item_rows].mean() - scores[unseen].mean())


@pytest.mark.parametrize(
    ("n_items", "expected"), [(10, 1), (450, 3), (2_400, 16), (7_050, 16), (23_033, 51), (1_000_000, 2_222)]
)
def test_the_same_share_of_every_catalogue_is_masked_at_once(n_items: int, expected: int) -> None:
    assert items_at_once(n_items) == expected


@pytest.mark.parametrize(("at_once", "expected"), [(1, 1), (None, 3), (16, 16)])
def test_pairs_are_served_present_and_clear_of_the_other_masked_items(
    draft: SnapshotDraft, at_once: int | None, expected: int
) -> None:
    pairs = served_pairs(scorer_for(draft), draft, np.arange(N_USERS))
    present = np.arange(N_ITEMS) % 3 > 0
    found = list(batches(draft, pairs, present, np.random.default_rng(1), count=200, at_once=at_once))
    assert sum(len(batch.item_rows) for batch in found) == 200
    assert max(len(batch.masked) for batch in found) == expected
    known = set(zip(*(rows.tolist() for rows in pairs), strict=True))
    for batch in found:
        assert present[batch.masked].all()
        assert np.isin(batch.item_rows, batch.masked).all()
        assert np.bincount(batch.item_rows).max() <= USERS_PER_ITEM
        for user, item in zip(batch.user_rows.tolist(), batch.item_rows.tolist(), strict=True):
            assert (user, item) in known
            assert not np.isin(np.setdiff1d(batch.masked, [item]), draft.history(user)).any()
    masked = np.concatenate([batch.masked for batch in found])
    assert len(np.unique(masked)) == len(masked)


def test_where_there_are_too_few_pairs_all_are_measured(draft: SnapshotDraft) -> None:
    pairs = served_pairs(scorer_for(draft), draft, np.arange(2))
    found = list(batches(draft, pairs, np.ones(N_ITEMS, np.bool_), np.random.default_rng(1), count=10_000, at_once=1))
    assert sum(len(batch.item_rows) for batch in found) == 2 * SHOWN


def test_nobody_asked_gives_no_pairs(draft: SnapshotDraft) -> None:
    users, items = served_pairs(scorer_for(draft), draft, np.zeros(0, np.int64))
    assert (len(users), len(items)) == (0, 0)
    assert not list(batches(draft, (users, items), np.ones(N_ITEMS, np.bool_), np.random.default_rng(0), count=5))
