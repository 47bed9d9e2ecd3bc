"""The model run again without a modality of some items: nothing masked changes nothing, and what is masked is gone.

Axes: `I` items, `M` modalities.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.support.drafts import draft_of
from tests.support.tiny_dataset import tiny_dataset
from tests.support.tiny_magnet import Fit
from training.evaluation.explanation.measure import Effort, explanation_quality
from training.graph.content import centred_unit_rows, content_knn
from training.models.magnet import fitted as fitted_module
from training.models.magnet.config import GraphConfig
from training.models.magnet.masked import ContentGraphs

NOTHING = np.zeros(0, np.int64)


@pytest.fixture(autouse=True)
def no_serving_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tracing them takes seconds, and nothing here reads them."""
    monkeypatch.setattr(fitted_module, "serving_graphs", lambda *_: {})


@pytest.fixture(params=[(3, 1), (3, 2)], ids=["one member", "two members"])
def fit(request: pytest.FixtureRequest, fit_of: Callable[[int, int], Fit]) -> Fit:
    return fit_of(*request.param)


@pytest.mark.parametrize("rebuild", [False, True])
def test_with_nothing_masked_every_array_is_what_it_was(fit: Fit, rebuild: bool) -> None:
    draft, _ = draft_of(fit.refitted, fit.dataset, fit.interactions, history_cap=fit.config.history_cap)
    for name, array in fit.refitted.masked(NOTHING, "visual", rebuild=rebuild).items():
        np.testing.assert_allclose(array, draft.array(name), atol=2e-5, err_msg=name)


@pytest.mark.parametrize("rebuild", [False, True])
def test_what_is_masked_moves_and_the_fitted_model_stays(fit: Fit, rebuild: bool) -> None:
    before = fit.refitted.masked(NOTHING, "visual", rebuild=rebuild)
    item = int(np.flatnonzero(before["item_present"].all(axis=1))[0])
    after = fit.refitted.masked(np.array([item]), "visual", rebuild=rebuild)
    assert after["item_present"][item].tolist() == [True, False, True]
    assert np.abs(after["item_parts"][item, 1] - before["item_parts"][item, 1]).max() > 0.01
    np.testing.assert_array_equal(after["item_logits"], before["item_logits"])  # gates move by the pair's cues alone
    again = fit.refitted.masked(NOTHING, "visual", rebuild=rebuild)
    for name in before:
        np.testing.assert_array_equal(again[name], before[name], err_msg=name)


def test_of_some_users_the_same_is_known_as_when_all_are_run_again(fit: Fit) -> None:
    gone, asked = np.flatnonzero(fit.dataset.features["visual"].present)[:10], np.array([1, 4])
    every = fit.refitted.masked(gone, "visual", rebuild=False)
    some = fit.refitted.masked(gone, "visual", rebuild=False, user_rows=asked)
    as_served = fit.refitted.masked(NOTHING, "visual", rebuild=False)
    for name in ("user_vectors", "user_logits"):
        np.testing.assert_allclose(some[name][asked], every[name][asked], atol=1e-6, err_msg=name)
        assert np.abs(every[name][asked] - as_served[name][asked]).max() > 1e-4, name
    for name in every.keys() - {"user_vectors", "user_logits"}:
        np.testing.assert_array_equal(some[name], every[name], err_msg=name)


def test_rebuilding_moves_those_who_had_the_masked_for_neighbours(fit: Fit) -> None:
    gone = np.flatnonzero(fit.dataset.features["visual"].present)[:10]
    kept, rebuilt = (fit.refitted.masked(gone, "visual", rebuild=rebuild)["item_parts"] for rebuild in (False, True))
    warm = fit.refitted.evidence.degree > 0
    others = np.setdiff1d(np.flatnonzero(warm), gone)
    assert np.abs(rebuilt[others] - kept[others]).max() > 1e-3


def test_without_any_pictures_nothing_is_visual(fit: Fit) -> None:
    before = fit.refitted.masked(NOTHING, "visual", rebuild=True)
    everything = fit.refitted.masked(np.arange(fit.dataset.n_items), "visual", rebuild=True)
    assert np.abs(before["item_parts"][:, 1]).max() > 0.01
    np.testing.assert_array_equal(everything["item_parts"][:, 1], 0)
    if "item_item_values" in everything:
        np.testing.assert_array_equal(everything["item_item_values"][:, 1], 0)


def test_rebuilt_graphs_are_those_of_the_remaining_items() -> None:
    dataset, config = tiny_dataset(["visual", "textual"]), GraphConfig(neighbours=4, hub_cap=50)
    graphs, gone = ContentGraphs(dataset.features, config), np.array([2, 7, 8])
    for name, matrix in dataset.features.items():
        whole = content_knn(matrix.values, matrix.present, k=4, hub_cap=50)
        assert abs(graphs.without(NOTHING, "visual")[name] - whole).max() < 1e-6
    cut = graphs.without(gone, "visual")
    assert abs(cut["textual"] - graphs.without(NOTHING, "visual")["textual"]).max() == 0
    unit, known = centred_unit_rows(dataset.features["visual"].values, dataset.features["visual"].present)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, 0)
    cosine[gone], cosine[:, gone] = 0, 0
    expected: set[tuple[int, int]] = set()
    for row in np.flatnonzero(known):
        expected |= {(int(row), int(other)) for other in np.argsort(-cosine[row])[:4] if cosine[row, other] > 0}
    expected |= {(second, first) for first, second in expected}
    assert set(zip(*(rows.tolist() for rows in cut["visual"].nonzero()), strict=True)) == expected


def test_explanations_are_measured_on_a_fitted_model(fit: Fit) -> None:
    draft, _ = draft_of(fit.refitted, fit.dataset, fit.interactions, history_cap=fit.config.history_cap, half=True)
    found: Any = explanation_quality(draft, fit.refitted.masked, seed=0, effort=Effort(pairs=60, users=20))
    assert set(found) == {"perturbation", "role_check"}
    assert found["perturbation"]["pairs"] == {"visual": 60, "textual": 60}
    assert -1 <= found["perturbation"]["graph_rebuilt"]["routed"] <= 1
    assert len(found["role_check"]["visual"]["experts"]) == 9
