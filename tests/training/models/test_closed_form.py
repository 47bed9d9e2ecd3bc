import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse

from training.errors import TrainingError
from training.graph.normalise import symmetric_normalise
from training.models import closed_form
from training.models.closed_form import ClosedFormSettings, fit_closed_form

N_ITEMS = 12
MIX = {"visual": 0.25, "textual": 0.75}


def history(seed: int, n_users: int = 40) -> sparse.csr_array:
    """Random interactions in which the last item has none."""
    dense = (np.random.default_rng(seed).random((n_users, N_ITEMS)) < 0.25).astype(np.float32)
    dense[:, -1] = 0
    return sparse.csr_array(dense)


def graph(seed: int) -> sparse.csr_array:
    upper = np.triu(np.random.default_rng(seed).random((N_ITEMS, N_ITEMS)) < 0.3, 1).astype(np.float32)
    return symmetric_normalise(sparse.csr_array(upper + upper.T))


def graphs(seed: int) -> dict[str, sparse.csr_array]:
    return {"visual": graph(seed + 1), "textual": graph(seed + 2)}


def dense(train: sparse.csr_array, of: dict[str, sparse.csr_array], settings: ClosedFormSettings) -> np.ndarray:
    return fit_closed_form(train, of, settings, per_row=N_ITEMS).matrix().toarray()


def warm_gradient(
    weights: np.ndarray, train: sparse.csr_array, of: dict[str, sparse.csr_array], settings: ClosedFormSettings
) -> np.ndarray:
    """(I, n) of the objective by the weights towards the n items with interactions, the diagonal left out.

    In units of what its terms are made of. The column of a cold item has a form of its own.
    """
    prior = settings.content * sum(alpha * of[name].toarray() for name, alpha in settings.mix.items())
    each = np.maximum(train.sum(axis=1), 1.0) ** -settings.tempering
    squares = (train.T @ sparse.diags_array(each) @ train).toarray().astype(np.float64)
    noise = settings.denoising * squares.diagonal()[:, None] * weights
    gradient = squares @ weights - squares + noise + settings.reg * (weights - prior)
    gradient[np.diag_indices(N_ITEMS)] = 0
    found: np.ndarray = gradient[:, squares.diagonal() > 0] / (settings.reg + squares.max())
    return found


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.5, 500), st.floats(0, 2), st.floats(0, 1), st.floats(0, 4))
def test_it_is_the_optimum(seed: int, reg: float, content: float, tempering: float, denoising: float) -> None:
    """Where the diagonal is held at zero, the gradient must vanish everywhere else."""
    train, of = history(seed), graphs(seed)
    settings = ClosedFormSettings(reg, content, MIX, tempering=tempering, denoising=denoising)
    weights = dense(train, of, settings).astype(np.float64)
    np.testing.assert_allclose(warm_gradient(weights, train, of, settings), 0, atol=2e-5)
    assert not weights.diagonal().any()


def test_without_content_it_is_ease() -> None:
    train = history(seed=1)
    inverse = np.linalg.inv((train.T @ train).toarray().astype(np.float64) + 20 * np.eye(N_ITEMS))
    expected = -inverse / inverse.diagonal()  # Steck 2019, equation 8
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(dense(train, {}, ClosedFormSettings(20, 0, {})), expected, atol=1e-5)


def test_denoising_is_what_missing_items_cost_on_average() -> None:
    """Steck 2020: least squares over histories with items dropped at random, each of the rest scaled up for them."""
    train, rate = history(seed=3, n_users=30).toarray(), 0.4
    rng = np.random.default_rng(0)
    squares, products = np.zeros((N_ITEMS, N_ITEMS)), np.zeros((N_ITEMS, N_ITEMS))
    for _ in range(draws := 20_000):
        kept = train * (rng.random(train.shape) >= rate) / (1 - rate)
        squares += kept.T @ kept / draws
        products += kept.T @ train / draws
    squares += 5 * np.eye(N_ITEMS)
    # the optimum's columns, each with its own item held at zero
    expected = np.zeros((N_ITEMS, N_ITEMS))
    for item in range(N_ITEMS):
        others = np.arange(N_ITEMS) != item
        expected[others, item] = np.linalg.solve(squares[np.ix_(others, others)], products[others, item])
    settings = ClosedFormSettings(5.0, 0.0, {}, denoising=rate / (1 - rate))
    np.testing.assert_allclose(dense(sparse.csr_array(train), {}, settings), expected, atol=5e-3)


def test_shares_are_exact() -> None:
    train, of = history(seed=2), graphs(2)
    result = fit_closed_form(train, of, ClosedFormSettings(20, 0.3, MIX, cold_scale=0.1), per_row=N_ITEMS)
    assert result.shares == ("behaviour", "visual", "textual")
    only_visual = fit_closed_form(train, of, ClosedFormSettings(20, 0.3 * 0.25, {"visual": 1.0}), per_row=N_ITEMS)
    without = fit_closed_form(train, of, ClosedFormSettings(20, 0.0, {}), per_row=N_ITEMS)
    warm = slice(0, N_ITEMS - 1)
    for name, alone in (("visual", only_visual), ("behaviour", without)):
        np.testing.assert_allclose(
            result.share(name).toarray()[:, warm], alone.share(name).toarray()[:, warm], atol=1e-5
        )
    np.testing.assert_allclose(result.matrix().toarray(), sum(result.share(n).toarray() for n in result.shares))


def test_an_item_without_interactions_is_scored_by_its_content_neighbours() -> None:
    train, of = history(seed=3), graphs(3)
    weights = dense(train, of, ClosedFormSettings(20, 0.3, MIX, cold_scale=0.1))
    expected = 0.1 * (0.25 * of["visual"].toarray()[:, -1] + 0.75 * of["textual"].toarray()[:, -1])
    assert expected.any()
    np.testing.assert_allclose(weights[:, -1], expected, atol=1e-6)


def test_only_the_strongest_entries_stay_and_those_of_cold_items() -> None:
    train, of = history(seed=4), graphs(4)
    settings = ClosedFormSettings(20, 0.3, MIX, cold_scale=0.1, tempering=0.5, denoising=1.0)
    few, all_of_them = fit_closed_form(train, of, settings, per_row=3).matrix(), dense(train, of, settings)
    assert (np.diff(few.indptr) <= 3).all()
    for row in range(N_ITEMS):
        stays, size = few[[row]].toarray()[0], np.abs(all_of_them[row])
        cold = size[-1]  # the last item is cold: its weight stays, whatever its size
        strongest = np.sort(size[:-1])[-2:] if cold else np.sort(size)[-3:]
        assert np.abs(stays).sum() == pytest.approx(strongest.sum() + cold, abs=1e-6)
        assert stays[-1] == pytest.approx(all_of_them[row, -1])


def test_facts_are_recorded() -> None:
    facts = fit_closed_form(history(5), graphs(5), ClosedFormSettings(20, 0.3, MIX, 0.1)).facts
    assert facts["lambda"] == 20
    assert facts["c"] == 0.3
    assert facts["cold_scale"] == 0.1
    assert facts["alpha_textual"] == 0.75
    assert float(facts["seconds"]) > 0


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**31), st.floats(0.5, 500), st.floats(0, 2), st.floats(0, 1), st.floats(0, 4))
def test_of_a_large_catalogue_popular_items_alone_predict(
    monkeypatch: pytest.MonkeyPatch, seed: int, reg: float, content: float, tempering: float, denoising: float
) -> None:
    """It is the optimum among the weights whose other rows are zero: for every item, popular or not."""
    train, of = history(seed), graphs(seed)
    monkeypatch.setattr(closed_form, "MOST_PREDICTORS", 7)
    settings = ClosedFormSettings(reg, content, MIX, tempering=tempering, denoising=denoising)
    result = fit_closed_form(train, of, settings, per_row=N_ITEMS)
    assert result.facts["predictors"] == 7
    weights = result.matrix().toarray().astype(np.float64)
    counts = train.sum(axis=0)
    predicts = np.diff(result.indptr) > 0
    assert predicts.sum() <= 7
    assert counts[predicts].min() >= counts[~predicts].max()
    np.testing.assert_allclose(warm_gradient(weights, train, of, settings)[predicts], 0, atol=2e-5)
    assert not weights.diagonal().any()


def test_a_modality_without_a_graph_is_refused() -> None:
    with pytest.raises(TrainingError, match="acoustic"):
        fit_closed_form(history(6), graphs(6), ClosedFormSettings(20, 0.3, {"acoustic": 1.0}))
