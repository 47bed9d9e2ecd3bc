"""The scoring kinds `item-item` and `popularity` on numbers small enough to be read."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from model_store import Candidates, ManifestDraft, Modality, Term, Training
from model_store.draft import SnapshotDraft
from model_store.scoring import UserState, scorer_for
from model_store.scoring.base import SparseScores

HISTORY: dict[str, NDArray[Any]] = {
    "history_indptr": np.array([0, 2, 2, 5], np.int64),
    "history_items": np.array([0, 2, 3, 1, 0], np.int32),
    "popularity": np.array([2, 1, 0.5, 7], np.float32),
}


def draft(scoring: Any, term: str, arrays: dict[str, NDArray[Any]], history_cap: int = 10) -> SnapshotDraft:
    manifest = ManifestDraft(
        model="tiny",
        dataset="tiny",
        scoring=scoring,
        embedding_size=0,
        modalities=(Modality(name="behaviour", kind="behaviour"), Modality(name="visual", kind="content")),
        terms=(Term(name=term, role="base", modalities={"behaviour": 1.0}),),
        history_cap=history_cap,
        candidates=Candidates(depth=4),
        training=Training(seed=0),
    )
    return SnapshotDraft(manifest, {**HISTORY, **arrays}, {})


# B: 0 → 1 with (.5, .25), 0 → 3 with (-.5, 0); 2 → 1 with (.125, .5); 3 → 0 with (1, 2)
ITEM_ITEM: dict[str, NDArray[Any]] = {
    "item_item_indptr": np.array([0, 2, 2, 3, 4], np.int64),
    "item_item_items": np.array([1, 3, 1, 0], np.int32),
    "item_item_values": np.array([[0.5, 0.25], [-0.5, 0], [0.125, 0.5], [1, 2]], np.float16),
}


def test_item_item_adds_the_rows_of_the_history() -> None:
    scorer = scorer_for(draft("item-item", "item-item", ITEM_ITEM))
    state = scorer.known_user(0)  # history 0, 2
    result = scorer.score(state, np.arange(4))
    np.testing.assert_array_equal(result.amounts[:, 0], [[0, 0], [0.5 + 0.125, 0.25 + 0.5], [0, 0], [-0.5, 0]])
    np.testing.assert_array_equal(result.scores, [0, 1.375, 0, -0.5])
    assert np.isnan(result.weights).all()
    np.testing.assert_array_equal(scorer.candidates_beyond_index(state, 50), [1, 3])
    assert scorer.retrieval_vectors().shape == (4, 0)


def test_item_item_because_is_exact() -> None:
    scorer = scorer_for(draft("item-item", "item-item", ITEM_ITEM))
    because = scorer.because(scorer.known_user(0), 1)
    np.testing.assert_array_equal(because.history_rows, [0, 2])
    np.testing.assert_array_equal(because.exact, [0.75, 0.625])
    assert not because.attributed.any()


def test_an_empty_history_scores_nothing_and_a_long_one_is_cut_to_its_latest() -> None:
    scorer = scorer_for(draft("item-item", "item-item", ITEM_ITEM, history_cap=2))
    assert not scorer.score_all(scorer.known_user(1)).any()
    state = scorer.known_user(2)  # 3, 1, 0, oldest first
    np.testing.assert_array_equal(state.history_rows, [1, 0])
    np.testing.assert_array_equal(scorer.score_all(state), [0, 0.75, 0, -0.5])


def test_popularity_is_the_same_for_everybody() -> None:
    scorer = scorer_for(draft("popularity", "popularity", {}))
    for user in range(3):
        state = scorer.known_user(user)
        np.testing.assert_array_equal(scorer.score_all(state), [2, 1, 0.5, 7])
        np.testing.assert_array_equal(scorer.retrieval_vectors() @ state.vector, [2, 1, 0.5, 7])
    result = scorer.score(state, np.array([3, 0]))
    np.testing.assert_array_equal(result.amounts, [[[7, 0]], [[2, 0]]])
    because = scorer.because(scorer.known_user(2), 3)
    assert not because.exact.any()
    assert not because.attributed.any()


def test_an_unknown_kind_is_a_key_error() -> None:
    known = draft("popularity", "popularity", {})
    unknown = known.manifest.model_copy(update={"scoring": "telepathy"})
    with pytest.raises(KeyError, match="telepathy"):
        scorer_for(SnapshotDraft(unknown, known.arrays, known.parameters))


def test_only_the_strongest_neighbours_of_a_history_become_candidates() -> None:
    amounts = np.array([[0.1], [0.9], [-0.5], [0.4], [0.2]])
    state = UserState(
        history_rows=np.array([7], np.int32),
        vector=np.zeros(0, np.float32),
        logits=np.zeros(0, np.float32),
        item_item=SparseScores.over(10, np.array([0, 3, 4, 8, 9]), amounts, np.zeros(0, np.int32)),
    )
    scorer = scorer_for(draft("popularity", "popularity", {}))
    # two asked for, and one more because the history has one item: .9, .4, .2
    np.testing.assert_array_equal(scorer.candidates_beyond_index(state, 2), [3, 8, 9])
    np.testing.assert_array_equal(scorer.candidates_beyond_index(state, 4), [0, 3, 4, 8, 9])
