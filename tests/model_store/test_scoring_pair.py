"""The scoring kind `pair` against its formulas, written out number by number in float64.

Axes: `I` items, `E` experts, `M` modalities, `D` width.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import JsonValue

from model_store import Snapshot
from model_store.draft import SnapshotDraft
from model_store.manifest import ManifestDraft
from model_store.scoring import scorer_for
from model_store.scoring.base import CANDIDATE_LEVEL, ENTRY_RANK, SparseScores
from model_store.scoring.pair import PairScorer
from tests.support.tiny_snapshot import write_tiny_pair_snapshot

F64 = NDArray[np.float64]


EXPOSED: Mapping[str, JsonValue] = {"cold_exposure": 1.5}


@pytest.fixture(scope="module", params=["beside", "routed", "beside, exposed", "routed, exposed"])
def snapshot(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    root = tmp_path_factory.mktemp("pair")
    placed, _, exposed = request.param.partition(", ")
    facts = EXPOSED if exposed else None
    identity = write_tiny_pair_snapshot(root, routed=placed == "routed", item_item_facts=facts)
    return Snapshot.open(root / "snapshots" / identity)


@pytest.fixture(scope="module")
def scorer(snapshot: Snapshot) -> PairScorer:
    scorer = scorer_for(snapshot)
    assert isinstance(scorer, PairScorer)
    return scorer


class Oracle:
    """`model_store/scoring/pair.py`'s docstring, one pair at a time."""

    def __init__(self, snapshot: Snapshot, history: list[int]) -> None:
        self.snapshot, self.history = snapshot, history
        self.beside = snapshot.manifest.terms[0].name == "item-item"
        self.parts = snapshot.array("item_parts").astype(np.float64)
        self.present = snapshot.array("item_present")
        total = sum((snapshot.array("item_history")[row].astype(np.float64) for row in history), np.zeros(8))
        self.u = total / max(float(np.linalg.norm(total)), 1e-12)
        with_total = self.parameter("part_with_total")
        spread = math.sqrt(sum(float(self.u @ with_total[m] @ self.u) for m in range(3)) + 1e-12)
        self.typical = [
            self.parameter("part_mean")[m] + CANDIDATE_LEVEL / spread * (with_total[m] @ self.u) for m in range(3)
        ]

    def parameter(self, name: str) -> F64:
        return np.asarray(self.snapshot.parameter(name), np.float64)

    def user_logits(self) -> F64:
        """Two layers over log length, coherence and share per modality."""
        features = [math.log1p(len(self.history))]
        owned = [[row for row in self.history if self.present[row, m]] for m in range(3)]
        for m, rows in enumerate(owned):
            cosines = [cosine(self.parts[i, m], self.parts[j, m]) for i in rows for j in rows if i != j]
            features.append(float(np.mean(cosines)) if cosines else 0.0)
        features += [len(rows) / max(len(self.history), 1) for rows in owned]
        x = (np.array(features) - self.parameter("user_router_mean")) / self.parameter("user_router_scale")
        hidden = np.tanh(x @ self.parameter("user_router_w1") + self.parameter("user_router_b1"))
        logits: F64 = hidden @ self.parameter("user_router_w2") + self.parameter("user_router_b2")
        return logits

    def gates(self, item: int) -> F64:
        """(E,)"""
        cues = []
        for m in range(3):
            above = float(self.u @ (self.parts[item, m] - self.typical[m]))
            deviation = math.sqrt(float(self.u @ self.parameter("part_covariance")[m] @ self.u) + 1e-12)
            cues.append(math.tanh(above / (3 * deviation)) if self.present[item, m] else 0.0)
        logits = self.user_logits() + self.snapshot.array("item_logits")[item].astype(np.float64)
        logits = logits + self.parameter("pair_weights") @ np.array(cues)
        chosen = sorted(range(9), key=lambda e: -logits[e])[: self.snapshot.manifest.top_k_experts]
        gates = np.zeros(9)
        for e in chosen:
            gates[e] = math.exp(logits[e]) / sum(math.exp(logits[other]) for other in chosen)
        return gates

    def expert_amounts(self, item: int, e: int) -> F64:
        """(M,)"""
        removed = int(self.snapshot.parameter("expert_removes")[e])
        scale = self.parameter("expert_scale")[e]
        user_side = scale * np.tanh(self.u @ self.parameter("expert_maps")[e])
        residual = float(user_side @ self.snapshot.array("item_experts")[item, e].astype(np.float64))
        amounts = []
        for m in range(3):
            read = self.parts[item, m] - self.typical[m]
            if removed >= 0:
                above = self.parts[item, removed] - self.typical[removed]
                read = read - above @ self.parameter("residual_maps")[removed, m]
            typical = 0.0 if self.beside else self.typical_evidence()[m]
            evidence = 0.0 if self.beside else self.item_item(item)[m] - typical
            linear = self.parameter("expert_gain")[e] * (float(self.u @ read) + evidence)
            mixed = self.parameter("expert_mix")[e, m] * (linear + residual)
            amounts.append(mixed + float(self.u @ self.typical[m]) + typical)
        return np.array(amounts)

    def typical_evidence(self) -> F64:
        """(M,): each modality's regression on the total, read off 2.5 standard deviations above the mean."""
        table = np.array([self.listed(item) for item in range(self.snapshot.n_items)])
        total = table.sum(axis=1)
        spread = max(float(total.std()), 1e-6)
        slopes = [float(np.mean((total - total.mean()) * table[:, m])) / spread for m in range(3)]
        level: F64 = table.mean(axis=0) + CANDIDATE_LEVEL * np.array(slopes)
        return level

    def item_item(self, item: int) -> F64:
        """(M,): what the history says of it; of a new item, what it stands with."""
        amounts = self.listed(item)
        exposure = self.snapshot.manifest.item_item.get("cold_exposure", 0.0)
        if self.snapshot.array("item_degree")[item] == 0 and isinstance(exposure, float):
            mean = self.parameter("part_mean")
            reach = sum(float(self.u @ (self.parts[item, m] - mean[m])) for m in range(3))
            reach /= sum(float(self.u @ (self.typical[m] - mean[m])) for m in range(3)) or 1.0
            amounts = amounts + exposure * reach * self.entry()
        return amounts

    def entry(self) -> F64:
        """(M,): the twentieth unseen item's evidence, split as the first twenty's."""
        unseen = [self.listed(item) for item in range(self.snapshot.n_items) if item not in self.history]
        best = sorted((amounts for amounts in unseen if amounts.any()), key=lambda amounts: -float(amounts.sum()))[:20]
        if len(best) < 20:
            return np.zeros(3)
        together: F64 = np.sum(best, axis=0)
        share: F64 = together / together.sum()
        return share * max(float(best[19].sum()), 0.0)

    def listed(self, item: int) -> F64:
        """(M,)"""
        indptr, items = self.snapshot.array("item_item_indptr"), self.snapshot.array("item_item_items")
        amounts = np.zeros(3)
        for row in self.history:
            for entry in range(indptr[row], indptr[row + 1]):
                if items[entry] == item:
                    amounts += self.snapshot.array("item_item_values")[entry].astype(np.float64)
        return amounts


def cosine(first: F64, second: F64) -> float:
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


@pytest.mark.parametrize("history", [[3, 8, 21, 34], [7], [], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]], ids=len)
def test_every_term_is_what_the_formulas_say(history: list[int], snapshot: Snapshot, scorer: PairScorer) -> None:
    oracle = Oracle(snapshot, history)
    state = scorer.encode_user(np.array(history, np.int32))
    np.testing.assert_allclose(state.vector, oracle.u, atol=1e-6)
    np.testing.assert_allclose(state.logits, oracle.user_logits(), atol=1e-5)
    items = np.arange(snapshot.n_items)
    found = scorer.score(state, items)
    assert len(scorer.terms) == 9 + oracle.beside
    for item in items:
        gates = oracle.gates(int(item))
        np.testing.assert_allclose(found.weights[item, oracle.beside :], gates, atol=1e-5)
        if oracle.beside:
            np.testing.assert_allclose(found.amounts[item, 0], oracle.item_item(int(item)), atol=1e-6)
        for e in range(9):
            expected = gates[e] * oracle.expert_amounts(int(item), e)
            np.testing.assert_allclose(found.amounts[item, oracle.beside + e], expected, atol=2e-5)


def test_some_items_lack_a_modality_and_some_gates_differ(snapshot: Snapshot, scorer: PairScorer) -> None:
    """Else the test above would say little."""
    assert not snapshot.array("item_present").all()
    weights = scorer.score(scorer.encode_user(np.array([3, 8, 21], np.int32)), np.arange(snapshot.n_items)).weights
    assert len({tuple(np.flatnonzero(row > 0)) for row in weights[:, 1:]}) > 3


def test_exposure_moves_new_items_and_no_others(tmp_path: Path) -> None:
    """With twice the exposure a new item stands with twice the evidence; beside the experts that is all that moves."""
    found = []
    for exposure in (0.0, 1.5, 3.0):
        root = tmp_path / str(exposure)
        identity = write_tiny_pair_snapshot(root, item_item_facts={"cold_exposure": exposure})
        snapshot = Snapshot.open(root / "snapshots" / identity)
        scorer = scorer_for(snapshot)
        state = scorer.encode_user(np.arange(1, 11, dtype=np.int32))
        assert state.item_item.entry.sum() > 0
        found.append(scorer.score(state, np.arange(snapshot.n_items)))
    new = snapshot.array("item_degree") == 0
    assert 0 < new.sum() < 20
    np.testing.assert_array_equal(found[0].contributions[~new], found[2].contributions[~new])
    once, twice = (each.contributions - found[0].contributions for each in found[1:])
    assert (np.abs(once[new, 0]) > 1e-3).all()
    np.testing.assert_allclose(twice, 2 * once, atol=1e-6)
    assert not once[:, 1:].any()


def test_scores_do_not_depend_on_the_company_or_the_order(snapshot: Snapshot, scorer: PairScorer) -> None:
    state = scorer.known_user(2)
    everything = scorer.score_all(state)
    np.testing.assert_allclose(scorer.score_all(state, block=7), everything, atol=1e-6)
    some = np.array([31, 4, 4, 17])
    result = scorer.score(state, some)
    np.testing.assert_array_equal(result.item_rows, some)
    np.testing.assert_allclose(result.scores, everything[some], atol=1e-6)
    assert scorer.score(state, np.zeros(0, np.int64)).scores.shape == (0,)


def test_known_users_are_their_histories(snapshot: Snapshot, scorer: PairScorer) -> None:
    for user in range(snapshot.n_users):
        known, encoded = scorer.known_user(user), scorer.encode_user(snapshot.history(user))
        np.testing.assert_allclose(known.vector, encoded.vector, atol=1e-3)  # half precision
        np.testing.assert_allclose(known.logits, encoded.logits, atol=5e-3)


def test_because_adds_up_and_a_known_neighbour_shows(snapshot: Snapshot, scorer: PairScorer) -> None:
    history = np.array([5, 11, 30], np.int32)
    state = scorer.encode_user(history)
    scores = scorer.score_all(state)
    indptr, neighbours = snapshot.array("item_item_indptr"), snapshot.array("item_item_items")
    with_item_item = int(neighbours[indptr[11]])
    for item in (0, 20, with_item_item):
        because = scorer.because(state, item)
        np.testing.assert_array_equal(because.history_rows, history)
        assert (because.exact + because.attributed).sum() == pytest.approx(scores[item], abs=1e-4)
    entry = snapshot.array("item_item_values")[indptr[11]].astype(np.float64).sum()
    alone = scorer.encode_user(np.array([11], np.int32))
    without = scorer.because(alone, with_item_item).exact[0] - entry
    direction_only = scorer.score_all(alone)[with_item_item] - entry
    assert without + scorer.because(alone, with_item_item).attributed[0] == pytest.approx(direction_only, abs=1e-4)


def test_retrieval_ranks_by_the_sum_of_parts_and_the_matrix_adds_its_rows(
    snapshot: Snapshot, scorer: PairScorer
) -> None:
    vectors = scorer.retrieval_vectors()
    np.testing.assert_allclose(vectors, snapshot.array("item_parts").astype(np.float32).sum(axis=1), atol=1e-6)
    state = scorer.encode_user(np.array([5, 11], np.int32))
    indptr, items = snapshot.array("item_item_indptr"), snapshot.array("item_item_items")
    beyond = set(items[indptr[5] : indptr[6]]) | set(items[indptr[11] : indptr[12]])
    new = np.flatnonzero(snapshot.array("item_degree") == 0)
    exposed = "cold_exposure" in snapshot.manifest.item_item
    assert set(scorer.candidates_beyond_index(state, 500)) == beyond | (set(new) if exposed else set())
    nearest = new[np.argsort(-(vectors[new] @ state.vector))[:2]]
    listed = set(scorer.candidates_beyond_index(state, 2))
    assert (set(nearest) <= listed) == exposed
    assert not exposed or not (set(new) - set(nearest) - beyond) & listed


def test_without_the_item_item_term_there_are_experts_alone(tmp_path: Path) -> None:
    identity = write_tiny_pair_snapshot(tmp_path, item_item=False)
    scorer = scorer_for(Snapshot.open(tmp_path / "snapshots" / identity))
    state = scorer.known_user(1)
    assert len(scorer.candidates_beyond_index(state, 500)) == 0
    result = scorer.score(state, np.arange(10))
    assert result.contributions.shape == (10, 9)
    np.testing.assert_allclose(result.weights.sum(axis=1), 1, atol=1e-6)


def test_sparse_scores_say_nothing_of_items_they_do_not_list() -> None:
    seen = np.array([2])
    sparse = SparseScores.over(10, np.array([2, 5, 9]), np.array([[1.0, 2], [3, 4], [5, 6]]), seen)
    np.testing.assert_array_equal(sparse.at(np.array([9, 0, 5, 11, 5])), [[5, 6], [0, 0], [3, 4], [0, 0], [3, 4]])
    nothing = SparseScores.over(10, np.zeros(0, np.int64), np.zeros((0, 2)), seen)
    np.testing.assert_array_equal(nothing.at(np.array([1, 2])), np.zeros((2, 2)))


@pytest.mark.parametrize("seen", [[], [2], [0, 41, 99], [3, 3], [97, 98]])
def test_what_takes_an_item_into_the_list_is_reckoned_from_the_unseen(seen: list[int]) -> None:
    rows = np.arange(2, 100, 3)  # 2 to 98: some of `seen` are not listed, and one lies behind all of them
    amounts = np.random.default_rng(5).exponential(1, (len(rows), 2))
    found = SparseScores.over(100, rows, amounts, np.array(seen, np.int32)).entry
    unseen = np.array([amount for row, amount in zip(rows.tolist(), amounts, strict=True) if row not in seen])
    best = unseen[np.argsort(-unseen.sum(axis=1))[:ENTRY_RANK]]
    np.testing.assert_allclose(found.sum(), best[-1].sum())
    np.testing.assert_allclose(found / found.sum(), best.mean(axis=0) / best.mean(axis=0).sum())


def test_a_variance_that_rounding_made_negative_disturbs_no_score(snapshot: Snapshot) -> None:
    """A part with one direction, of a feature with one column, has none across it."""
    rounded = np.stack([-1e-9 * np.eye(8, dtype=np.float32)] * 3)
    parameters = {name: snapshot.parameter(name) for name in snapshot.parameters}
    parameters |= {"part_covariance": rounded, "part_with_total": rounded}
    manifest = ManifestDraft(**{name: getattr(snapshot.manifest, name) for name in ManifestDraft.model_fields})
    arrays = {name: snapshot.array(name) for name in snapshot.manifest.arrays}
    scorer = scorer_for(SnapshotDraft(manifest, arrays, parameters))
    assert np.isfinite(scorer.score_all(scorer.known_user(0))).all()
