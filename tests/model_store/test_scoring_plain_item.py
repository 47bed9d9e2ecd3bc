"""The scoring kinds `plain` and `item` against sums written out by hand, as drafts and as published snapshots."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from model_store import Candidates, ItemColumns, ManifestDraft, Modality, Snapshot, SnapshotWriter, Term, Training
from model_store.draft import SnapshotDraft
from model_store.errors import InvalidContent
from model_store.scoring import Scorer, scorer_for
from model_store.scoring.linear_user import history_weights

U, N_ITEMS, M, D = 5, 12, 3, 4
NAMES = ("behaviour", "visual", "textual")
HISTORIES = [np.array(rows, np.int32) for rows in ([3, 1, 4], [0], [5, 9, 2, 6, 7], [], [8, 1])]


def manifest(scoring: Any, terms: tuple[Term, ...]) -> ManifestDraft:
    return ManifestDraft(
        model="tiny",
        dataset="tiny",
        scoring=scoring,
        embedding_size=D,
        modalities=(Modality(name=NAMES[0], kind="behaviour"), *(Modality(name=n, kind="content") for n in NAMES[1:])),
        terms=terms,
        history_cap=4,
        candidates=Candidates(depth=N_ITEMS),
        training=Training(seed=0),
    )


def common(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    lengths = [len(history) for history in HISTORIES]
    return {
        "popularity": np.ones(N_ITEMS, np.float32),
        "item_degree": np.ones(N_ITEMS, np.int32),
        "item_present": np.ones((N_ITEMS, M), bool),
        "history_indptr": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        "history_items": np.concatenate(HISTORIES).astype(np.int32),
        "item_history": rng.normal(size=(N_ITEMS, D)).astype(np.float16),
        "user_vectors": rng.normal(size=(U, D)).astype(np.float16),
    }


def parameters(rng: np.random.Generator, decay: float = 1.0) -> dict[str, NDArray[Any]]:
    return {
        "user_offset": rng.normal(size=D).astype(np.float32),
        "history_decay": np.array([decay], np.float32),
    }


def beside(draft: SnapshotDraft) -> SnapshotDraft:
    """The same with item-item evidence before its own terms."""
    rng = np.random.default_rng(3)
    matrix = np.where(rng.random((N_ITEMS, N_ITEMS, 1)) < 0.5, rng.normal(size=(N_ITEMS, N_ITEMS, M)), 0)
    entries = matrix.any(axis=2)
    arrays: dict[str, NDArray[Any]] = {
        "item_item_indptr": np.concatenate([[0], np.cumsum(entries.sum(axis=1))]).astype(np.int64),
        "item_item_items": np.nonzero(entries)[1].astype(np.int32),
        "item_item_values": matrix[entries].astype(np.float16),
    }
    terms = (Term(name="item-item", role="base", modalities={"behaviour": 1.0}), *draft.manifest.terms)
    manifest = draft.manifest.model_copy(update={"terms": terms})
    return SnapshotDraft(manifest, {**draft.arrays, **arrays}, draft.parameters)


def plain(*, parts: bool = True, decay: float = 1.0) -> SnapshotDraft:
    rng = np.random.default_rng(1)
    split = rng.normal(size=(N_ITEMS, M, D))
    arrays = common(rng) | {"item_vectors": split.sum(axis=1).astype(np.float16)}
    if parts:
        arrays["item_parts"] = split.astype(np.float16)
    terms = (Term(name="collaborative", role="base", modalities={"behaviour": 1.0}),)
    return SnapshotDraft(manifest("plain", terms), arrays, parameters(rng, decay))


def item() -> SnapshotDraft:
    rng = np.random.default_rng(2)
    gates = rng.dirichlet(np.ones(2), N_ITEMS) * (rng.random((N_ITEMS, 2)) > 0.3)
    terms = (
        Term(name="collaborative", role="base", modalities={"behaviour": 1.0}),
        Term(name="visual", role="modality", modalities={"visual": 1.0}),
        Term(name="synergy", role="modality", modalities={"visual": 0.25, "textual": 0.75}),
    )
    arrays = common(rng) | {
        "item_term_vectors": rng.normal(size=(N_ITEMS, 3, D)).astype(np.float16),
        "item_gates": np.concatenate([np.ones((N_ITEMS, 1)), gates], axis=1).astype(np.float16),
    }
    return SnapshotDraft(manifest("item", terms), arrays, parameters(rng))


def wide(array: NDArray[Any]) -> NDArray[np.float64]:
    return array.astype(np.float64)


def test_plain_score_is_one_inner_product_split_over_parts() -> None:
    draft = plain()
    scorer = scorer_for(draft)
    state = scorer.known_user(0)
    rows = np.array([7, 0, 11])
    found = scorer.score(state, rows)
    user = wide(draft.array("user_vectors")[0])
    expected = [sum(user[d] * wide(draft.array("item_vectors"))[row, d] for d in range(D)) for row in rows]
    np.testing.assert_allclose(found.scores, expected, rtol=1e-5)
    textual = [sum(user[d] * wide(draft.array("item_parts"))[row, 2, d] for d in range(D)) for row in rows]
    np.testing.assert_allclose(found.amounts[:, 0, 2], textual, rtol=1e-5)
    behaviour = wide(draft.array("item_parts"))[rows, 0] @ user
    np.testing.assert_allclose(found.amounts[:, 0, 0], behaviour, atol=1e-2)  # takes the halves' rounding
    assert np.isnan(found.weights).all()


def test_plain_without_parts_is_all_behaviour() -> None:
    scorer = scorer_for(plain(parts=False))
    found = scorer.score(scorer.known_user(2), np.arange(N_ITEMS))
    np.testing.assert_array_equal(found.amounts[:, 0, 0], found.scores)
    assert not found.amounts[:, 0, 1:].any()


def test_item_score_is_the_gated_sum_of_terms() -> None:
    draft = item()
    scorer = scorer_for(draft)
    state = scorer.known_user(1)
    found = scorer.score(state, np.arange(N_ITEMS))
    user, gates = wide(draft.array("user_vectors")[1]), wide(draft.array("item_gates"))
    vectors = wide(draft.array("item_term_vectors"))
    for row in range(N_ITEMS):
        for term in range(3):
            contribution = gates[row, term] * sum(user * vectors[row, term])
            assert found.contributions[row, term] == pytest.approx(contribution, rel=1e-4, abs=1e-6)
    np.testing.assert_allclose(found.amounts[:, 2, 1], 0.25 * found.contributions[:, 2])
    np.testing.assert_allclose(found.amounts[:, 2, 2], 0.75 * found.contributions[:, 2])
    assert np.isnan(found.weights[:, 0]).all()
    np.testing.assert_allclose(found.weights[:, 1:], gates[:, 1:], rtol=1e-6)
    closed = gates[:, 1] == 0
    assert closed.any()
    assert not found.contributions[closed, 1].any()


@pytest.mark.parametrize("own", [plain(), plain(decay=0.5), item()], ids=["plain", "decaying", "item"])
def test_item_item_evidence_is_a_term_before_the_others(own: SnapshotDraft) -> None:
    draft = beside(own)
    scorer, alone = scorer_for(draft), scorer_for(own)
    matrix = np.zeros((N_ITEMS, N_ITEMS, M))
    indptr, items = draft.array("item_item_indptr"), draft.array("item_item_items")
    for row in range(N_ITEMS):
        for entry in range(indptr[row], indptr[row + 1]):
            matrix[row, items[entry]] = wide(draft.array("item_item_values"))[entry]
    for state, plainly, history in (
        (scorer.known_user(0), alone.known_user(0), HISTORIES[0]),
        (scorer.encode_user(HISTORIES[2]), alone.encode_user(HISTORIES[2]), HISTORIES[2][-4:]),  # history_cap is 4
    ):
        found = scorer.score(state, np.arange(N_ITEMS))
        expected = alone.score(plainly, np.arange(N_ITEMS))
        np.testing.assert_allclose(found.amounts[:, 0], matrix[history].sum(axis=0), atol=1e-9)
        np.testing.assert_array_equal(found.amounts[:, 1:], expected.amounts)
        np.testing.assert_array_equal(found.weights[:, 1:], expected.weights)
        assert np.isnan(found.weights[:, 0]).all()
        because, before = scorer.because(state, 6), alone.because(plainly, 6)
        np.testing.assert_allclose(because.exact - before.exact, matrix[history, 6].sum(axis=1), atol=1e-9)
        np.testing.assert_array_equal(because.attributed, before.attributed)
        spoken_for = np.flatnonzero(matrix[history].any(axis=(0, 2)))
        np.testing.assert_array_equal(scorer.candidates_beyond_index(state, N_ITEMS), spoken_for)


def test_the_evidence_term_is_the_first_and_comes_with_its_arrays(tmp_path: Path) -> None:
    draft = beside(item())
    terms = draft.manifest.terms
    with pytest.raises(ValueError, match="before all others"):
        manifest("item", (terms[1], terms[0], *terms[2:]))
    with pytest.raises(ValueError, match="role 'base'"):
        manifest("item", (terms[0].model_copy(update={"role": "modality"}), *terms[1:]))
    without = {name: array for name, array in draft.arrays.items() if name != "item_item_values"}
    with pytest.raises(InvalidContent, match="item_item_values"):
        publish(SnapshotDraft(draft.manifest, without, draft.parameters), tmp_path)


@pytest.mark.parametrize(
    "draft",
    [plain(), plain(decay=0.5), item(), beside(plain()), beside(item())],
    ids=["plain", "decaying", "item", "plain-beside", "item-beside"],
)
class TestBothKinds:
    def scorer(self, draft: SnapshotDraft) -> Scorer:
        return scorer_for(draft)

    def test_amounts_sum_to_contributions_and_scores(self, draft: SnapshotDraft) -> None:
        scorer = self.scorer(draft)
        found = scorer.score(scorer.known_user(0), np.arange(N_ITEMS))
        np.testing.assert_allclose(found.amounts.sum(axis=2), found.contributions, rtol=1e-12)
        np.testing.assert_allclose(found.scores, scorer.score_all(scorer.known_user(0)), rtol=1e-6)

    def test_retrieval_ranks_as_the_score(self, draft: SnapshotDraft) -> None:
        scorer = self.scorer(draft)
        state = scorer.known_user(4)
        near = scorer.retrieval_vectors() @ state.vector + state.item_item.at(np.arange(N_ITEMS)).sum(axis=1)
        np.testing.assert_allclose(near, scorer.score_all(state), rtol=1e-4, atol=1e-5)

    def test_a_history_is_encoded_as_the_format_says(self, draft: SnapshotDraft) -> None:
        scorer = self.scorer(draft)
        decay, rows = float(draft.parameter("history_decay")[0]), HISTORIES[2][-4:]  # history_cap is 4
        raw = [decay ** (3 - place) for place in range(4)]
        total = wide(draft.parameter("user_offset"))
        for weight, row in zip(raw, rows, strict=True):
            total = total + weight / np.sqrt(sum(w * w for w in raw)) * wide(draft.array("item_history"))[row]
        np.testing.assert_allclose(scorer.encode_user(HISTORIES[2]).vector, total, rtol=1e-5)
        nobody = scorer.encode_user(np.zeros(0, np.int32))
        np.testing.assert_array_equal(nobody.vector, draft.parameter("user_offset"))

    @pytest.mark.parametrize("known", [True, False])
    def test_because_sums_to_the_score(self, draft: SnapshotDraft, known: bool) -> None:
        scorer = self.scorer(draft)
        state = scorer.known_user(2) if known else scorer.encode_user(HISTORIES[2])
        found = scorer.because(state, 10)
        score = scorer.score(state, np.array([10])).scores[0]
        assert (found.exact + found.attributed).sum() == pytest.approx(score, rel=1e-4)

    def test_because_is_what_leaving_an_item_out_of_the_sum_changes(self, draft: SnapshotDraft) -> None:
        scorer = self.scorer(draft)
        state = scorer.encode_user(HISTORIES[0])
        found = scorer.because(state, 6)
        item_vector = scorer.retrieval_vectors()[6].astype(np.float64)
        weights = history_weights(3, float(draft.parameter("history_decay")[0]))
        for place, row in enumerate(HISTORIES[0]):
            without = state.vector - weights[place] * wide(draft.array("item_history"))[row]
            lost = (state.vector - without) @ item_vector
            lost += scorer.encode_user(row[None]).item_item.at(np.array([6])).sum()
            assert found.exact[place] == pytest.approx(lost, rel=1e-3, abs=1e-5)

    def test_published_snapshots_score_like_their_drafts(self, draft: SnapshotDraft, tmp_path: Path) -> None:
        snapshot = publish(draft, tmp_path)
        scorer, published = self.scorer(draft), scorer_for(snapshot)
        np.testing.assert_array_equal(
            published.score_all(published.known_user(0)), scorer.score_all(scorer.known_user(0))
        )

    def test_a_missing_or_misshapen_part_is_refused(self, draft: SnapshotDraft, tmp_path: Path) -> None:
        short = SnapshotDraft(draft.manifest, draft.arrays, {"user_offset": np.zeros(D, np.float32)})
        with pytest.raises(InvalidContent, match="history_decay"):
            publish(short, tmp_path)
        name = "item_vectors" if draft.manifest.scoring == "plain" else "item_gates"
        cut = {**draft.arrays, name: draft.arrays[name][:, :-1].copy()}
        with pytest.raises(InvalidContent, match=name):
            publish(SnapshotDraft(draft.manifest, cut, draft.parameters), tmp_path)


def publish(draft: SnapshotDraft, root: Path) -> Snapshot:
    with SnapshotWriter(root, draft.manifest) as writer:
        for name, array in draft.arrays.items():
            writer.add_array(name, array)
        writer.add_parameters(dict(draft.parameters))
        writer.add_users([f"u{row}" for row in range(U)])
        unknown: list[Any] = [None] * N_ITEMS
        writer.add_items(ItemColumns([f"i{row}" for row in range(N_ITEMS)], unknown, [()] * N_ITEMS, unknown, unknown))
        published = writer.publish()
    return Snapshot.open(root / "snapshots" / published)


def test_weights_of_a_history_have_unit_length() -> None:
    np.testing.assert_allclose(history_weights(4, 1.0), [0.5] * 4)
    np.testing.assert_allclose(history_weights(2, 0.5), np.array([0.5, 1.0]) / np.sqrt(1.25))
    assert history_weights(0, 1.0).shape == (0,)
