"""Torch and the reference scoring over the stored arrays are one model: scores, order, users, explanations.

Axes: `U` users, `I` items, `T` terms, `M` modalities.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch

from model_store.draft import SnapshotDraft
from model_store.scoring import Scorer, scorer_for
from model_store.scoring.pair import PairScorer
from tests.support.drafts import assert_same_top, draft_of
from tests.support.tiny_magnet import Fit
from training.models.magnet import fitted as fitted_module
from training.models.magnet import scored as scored_module

CASES = [(1, 1), (2, 1), (3, 1), (4, 1), (3, 2)]


@pytest.fixture
def no_serving_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tracing them takes seconds and scoring reads none; they have tests of their own."""

    def none(*_: object) -> Mapping[str, bytes]:
        return {}

    monkeypatch.setattr(fitted_module, "serving_graphs", none)


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]} modalities, {case[1]} members")
def fit(request: pytest.FixtureRequest, fit_of: Callable[[int, int], Fit], no_serving_graphs: None) -> Fit:
    return fit_of(*request.param)


def drafted(fit: Fit, *, half: bool = False) -> SnapshotDraft:
    return draft_of(fit.refitted, fit.dataset, fit.interactions, history_cap=fit.config.history_cap, half=half)[0]


def test_scores_are_the_models_to_1e_4_and_so_is_the_top_20(fit: Fit) -> None:
    scorer = scorer_for(drafted(fit))
    users = np.arange(fit.dataset.n_users)
    expected = fit.refitted.score_block(users)
    assert np.ptp(expected) > 0.1
    for user in users:
        found = scorer.score_all(scorer.known_user(int(user)))
        np.testing.assert_allclose(found, expected[user], atol=1e-4)
        assert_same_top(found, expected[user], k=20, tolerance=1e-4)


def test_tiles_do_not_show_in_the_scores(three: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    users = np.arange(three.dataset.n_users)
    whole = three.fitted.score_block(users)
    monkeypatch.setattr(scored_module, "TILE_USERS", 7)
    monkeypatch.setattr(scored_module, "TILE_ITEMS", 5)
    np.testing.assert_allclose(three.fitted.score_block(users), whole, rtol=1e-5, atol=1e-5)


def test_scores_over_the_stored_arrays_differ_by_rounding_alone(fit: Fit) -> None:
    scorer = scorer_for(drafted(fit, half=True))
    expected = fit.refitted.score_block(np.arange(5))
    for user in range(5):
        found = scorer.score_all(scorer.known_user(user))
        tolerance = 5e-3 * float(np.abs(expected[user]).max())
        # a pair whose experts change places at the edge of the top K may move further: few do
        assert np.quantile(np.abs(found - expected[user]), 0.9) < tolerance


def test_contributions_and_amounts_sum_to_the_score(fit: Fit) -> None:
    scorer = scorer_for(drafted(fit, half=True))
    result = scorer.score(scorer.known_user(3), np.arange(fit.dataset.n_items))
    np.testing.assert_allclose(result.contributions.sum(axis=1), result.scores, atol=1e-12)
    np.testing.assert_allclose(result.amounts.sum(axis=2), result.contributions, atol=1e-12)
    routed = np.array([term.role != "base" for term in scorer.terms])
    np.testing.assert_allclose(result.weights[:, routed].sum(axis=1), 1, atol=1e-6)
    assert np.isnan(result.weights[:, ~routed]).all()
    assert ((result.weights[:, routed] > 0).sum(axis=1) <= fit.refitted.mixture.router.top_k).all()
    assert (result.contributions[:, routed][result.weights[:, routed] == 0] == 0).all()


def test_a_known_user_is_the_encoded_history(fit: Fit) -> None:
    draft = drafted(fit)
    scorer = scorer_for(draft)
    for user in range(0, fit.dataset.n_users, 7):
        known, encoded = scorer.known_user(user), scorer.encode_user(draft.history(user))
        np.testing.assert_allclose(known.vector, encoded.vector, atol=1e-4)
        np.testing.assert_allclose(known.logits, encoded.logits, atol=1e-4)
        np.testing.assert_array_equal(known.history_rows, encoded.history_rows)
    stored = scorer_for(drafted(fit, half=True))
    for user in range(0, fit.dataset.n_users, 7):
        known, encoded = stored.known_user(user), stored.encode_user(draft.history(user))
        np.testing.assert_allclose(known.vector, encoded.vector, atol=2e-3)
        np.testing.assert_allclose(known.logits, encoded.logits, atol=2e-2)


def test_because_sums_to_the_score(fit: Fit) -> None:
    scorer = scorer_for(drafted(fit))
    state = scorer.known_user(2)
    scores = scorer.score_all(state)
    for item in range(0, fit.dataset.n_items, 5):
        because = scorer.because(state, item)
        assert float(because.exact.sum() + because.attributed.sum()) == pytest.approx(scores[item], abs=1e-4)
        np.testing.assert_array_equal(because.history_rows, state.history_rows)


def test_the_routers_features_of_a_user_are_the_same_on_both_sides(fit: Fit) -> None:
    draft = drafted(fit)
    scorer = scorer_for(draft)
    assert isinstance(scorer, PairScorer)
    for user in range(0, fit.dataset.n_users, 5):
        found = scorer.user_features(draft.history(user))
        np.testing.assert_allclose(found, fit.refitted.evidence.user_features[user], atol=1e-4)


def test_nobody_gets_a_finite_answer(fit: Fit) -> None:
    """No history: zero vector, router logits of a user without any, no item-item term."""
    scorer: Scorer = scorer_for(drafted(fit, half=True))
    state = scorer.encode_user(np.zeros(0, np.int32))
    assert not state.vector.any()
    assert np.isfinite(scorer.score_all(state)).all()


def test_terms_name_roles_and_shares(fit: Fit) -> None:
    draft = drafted(fit)
    names = [modality.name for modality in draft.manifest.modalities]
    experts = [term for term in draft.manifest.terms if term.role != "base"]
    count = len(names)
    assert len(experts) == (1 if count == 1 else 2 * count + count * (count - 1) // 2)
    for term in draft.manifest.terms:
        assert set(term.modalities) == set(names)
        shares = [share for share in term.modalities.values() if share is not None]
        assert sum(shares) == pytest.approx(1, abs=1e-5)


def test_only_the_latest_items_of_a_long_history_count(three: Fit, no_serving_graphs: None) -> None:
    draft = draft_of(three.refitted, three.dataset, three.interactions, history_cap=2)[0]
    scorer = scorer_for(draft)
    user = int(np.argmax(np.diff(draft.array("history_indptr"))))
    history = draft.history(user)
    assert len(history) > 2
    capped = scorer.encode_user(history)
    np.testing.assert_array_equal(capped.history_rows, history[-2:])
    np.testing.assert_allclose(capped.vector, scorer.encode_user(history[-2:]).vector)


def test_a_variance_that_rounding_made_negative_has_a_root() -> None:
    np.testing.assert_allclose(scored_module.root(torch.tensor([-1e-9, 4.0])).numpy(), [1e-6, 2.0], rtol=1e-5)
