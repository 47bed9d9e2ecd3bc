"""The two ONNX graphs in ONNX Runtime against what they stand for: the reference scoring, and the frozen base.

Axes: `B` batch, `n` history length, `k` neighbours, `E` experts, `I` items, `M` modalities, `D` width.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from model_store.draft import SnapshotDraft
from model_store.encoders.session import open_session
from model_store.scoring import Scorer, scorer_for
from tests.support.drafts import draft_of
from tests.support.tiny_dataset import tiny_dataset
from tests.support.tiny_magnet import Fit, fit_magnet
from training.graph.content import centred_unit_rows
from training.models.magnet.material import content_graphs
from training.models.magnet.node_features import item_features

CASES = [(3, 2)]


@dataclass(frozen=True)
class Served:
    """A fit, its draft in full precision, and its graphs."""

    fit: Fit
    draft: SnapshotDraft
    scorer: Scorer
    files: dict[str, bytes]
    user_encoder: Any
    item_encoder: Any


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]} modalities, {case[1]} members")
def served(request: pytest.FixtureRequest, fit_of: Callable[[int, int], Fit]) -> Served:
    return served_of(fit_of(*request.param))


def served_of(fit: Fit) -> Served:
    """The fit as the service runs it."""
    draft, files = draft_of(fit.refitted, fit.dataset, fit.interactions, history_cap=fit.config.history_cap)
    user, item = (open_session(files[name]) for name in ("user_encoder.onnx", "item_encoder.onnx"))
    return Served(fit, draft, scorer_for(draft), files, user, item)


def padded(draft: SnapshotDraft, histories: list[NDArray[np.int32]], length: int) -> dict[str, NDArray[Any]]:
    """Inputs of the user encoder; padding holds the rows of item 0, so that an unmasked one would show."""
    rows = np.zeros((len(histories), length), np.int64)
    mask = np.zeros((len(histories), length), bool)
    for place, history in enumerate(histories):
        rows[place, : len(history)] = history
        mask[place, : len(history)] = True
    return {
        "history": draft.array("item_history")[rows],
        "parts": draft.array("item_parts")[rows],
        "present": draft.array("item_present")[rows],
        "mask": mask,
    }


def test_the_user_encoder_is_encode_user_whatever_the_padding(served: Served) -> None:
    histories = [served.draft.history(user) for user in range(0, served.fit.dataset.n_users, 9)]
    histories += [histories[0][:1], np.zeros(0, np.int32)]
    longest = max(len(history) for history in histories)
    for length in (longest, longest + 7):
        vectors, logits = served.user_encoder.run(["vector", "logits"], padded(served.draft, histories, length))
        for history, vector, row in zip(histories, vectors, logits, strict=True):
            expected = served.scorer.encode_user(history)
            np.testing.assert_allclose(vector, expected.vector, atol=1e-4)
            np.testing.assert_allclose(row, expected.logits, atol=1e-4)


def test_one_user_at_a_time_is_the_same(served: Served) -> None:
    history = served.draft.history(4)
    vector = served.user_encoder.run(["vector"], padded(served.draft, [history], len(history)))[0]
    np.testing.assert_allclose(vector[0], served.scorer.encode_user(history).vector, atol=1e-4)


def as_new(served: Served, items: NDArray[np.int64], *, padding: int = 0) -> dict[str, NDArray[Any]]:
    """Inputs of the item encoder: content, and warm content neighbours by their share in the mixed content graph."""
    dataset, draft = served.fit.dataset, served.draft
    graphs = content_graphs(dataset, served.fit.config)
    mixed = np.mean([graph.toarray() for graph in graphs.values()], axis=0)
    near = mixed[items] * (draft.array("item_degree") > 0)
    k = int((near > 0).sum(axis=1).max()) + padding
    rows = np.argsort(-near, axis=1, kind="stable")[:, :k]
    weights = np.take_along_axis(near, rows, axis=1)
    weights = weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
    return {
        **{
            f"features_{name}": centred_unit_rows(matrix.values, matrix.present)[0][items]
            for name, matrix in dataset.features.items()
        },
        "present": draft.array("item_present")[items],
        "neighbour_parts": draft.array("item_parts")[rows],
        "neighbour_history": draft.array("item_history")[rows],
        "neighbour_weights": weights.astype(np.float32),
    }


def test_gates_that_read_which_modalities_an_item_has_read_it_of_new_ones(tmp_path: Path) -> None:
    served = served_of(fit_magnet(tiny_dataset(["visual", "textual"], seed=3), tmp_path, router={"reads": "item"}))
    cold = np.flatnonzero(served.draft.array("item_degree") == 0)
    inputs, expected = as_new(served, cold), served.draft.array("item_logits")[cold]
    np.testing.assert_allclose(served.item_encoder.run(["logits"], inputs)[0], expected, atol=1e-3)
    inputs["present"][:, 1] = False
    lacking = served.item_encoder.run(["logits"], inputs)[0]
    features = torch.from_numpy(item_features(np.zeros(len(cold), np.float32), inputs["present"]))
    with torch.no_grad():
        np.testing.assert_allclose(lacking, served.fit.refitted.mixture.router.item(features), atol=1e-4)
    assert np.abs(lacking - expected).max() > 1e-3


@pytest.mark.parametrize("padding", [0, 3])
def test_the_item_encoder_gives_cold_items_the_rows_they_have(served: Served, padding: int) -> None:
    cold = np.flatnonzero(served.draft.array("item_degree") == 0)
    assert len(cold) >= 3
    parts, history, experts, logits = served.item_encoder.run(
        ["parts", "history", "experts", "logits"], as_new(served, cold, padding=padding)
    )
    np.testing.assert_allclose(parts, served.draft.array("item_parts")[cold], atol=1e-3)
    np.testing.assert_allclose(history, served.draft.array("item_history")[cold], atol=1e-3)
    np.testing.assert_allclose(experts, served.draft.array("item_experts")[cold], atol=1e-3)
    np.testing.assert_allclose(logits, served.draft.array("item_logits")[cold], atol=1e-3)


def test_a_new_item_without_neighbours_is_its_content(served: Served) -> None:
    inputs = as_new(served, np.array([0, 1]))
    inputs["neighbour_weights"] = np.zeros_like(inputs["neighbour_weights"])
    parts = served.item_encoder.run(["parts"], inputs)[0]
    assert np.isfinite(parts).all()
    form = served.fit.refitted.evidence.base.new_item
    for part in parts[:, 0]:  # nobody has taken it, and nothing like it: what all items have in common
        blocks, common = (vector.reshape(2, -1) for vector in (part, form.common))
        lengths = np.linalg.norm(blocks, axis=1) * np.linalg.norm(common, axis=1)
        np.testing.assert_allclose((blocks * common).sum(axis=1), lengths, rtol=1e-4)
        assert lengths.all()
    np.testing.assert_allclose(np.linalg.norm(parts.sum(axis=1), axis=1), form.length, rtol=1e-5)


def test_graphs_say_nothing_of_the_machine_that_made_them(served: Served) -> None:
    for content in served.files.values():
        model = onnx.load_from_string(content)
        assert not model.metadata_props
        assert all(not node.metadata_props and not node.doc_string for node in model.graph.node)
        assert b"site-packages" not in content


def test_without_content_there_is_no_item_encoder(fit_of: Callable[[int, int], Fit]) -> None:
    assert set(fit_of(1, 1).refitted.snapshot_content().files) == {"user_encoder.onnx"}
