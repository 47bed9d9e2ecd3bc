"""What is chosen of the item-item evidence: its closed form, once for the same data, and its weight."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from tests.support.tiny_dataset import tiny_dataset
from training.data.splits import Split, split_dataset
from training.evaluation.metrics import ndcg_at, recall_at
from training.evaluation.ranking import rank_positives
from training.fit.run import Run
from training.models import blend
from training.models.blend import best_weight, choose_blend, choose_closed_form, content_graphs, even_weight
from training.models.closed_form import ClosedFormSettings, fit_closed_form
from training.models.item_item import EvidenceConfig, ItemItem


@pytest.mark.parametrize("peak", [0.01, 0.3, 2.0, 11.0, 700.0])
def test_the_best_weight_is_found_to_within_the_square_root_of_two(peak: float) -> None:
    found = best_weight(lambda weight: -abs(weight - peak) / (weight + peak))
    assert peak / 2**0.5 <= found <= peak * 2**0.5


def test_a_term_that_only_hurts_gets_no_weight() -> None:
    assert best_weight(lambda weight: -weight) == 0.0


def test_evidence_and_base_vary_alike_under_the_even_weight() -> None:
    items, values = np.array([1, 0, 0], np.int32), np.array([[0.5], [1.0], [0.25]], np.float32)
    term = ItemItem(np.array([0, 1, 2, 3]), items, values, ("behaviour",), {})
    histories = sparse.csr_array(np.array([[1, 0, 0], [0, 0, 0], [0, 0, 1]], np.float32))
    scores = np.array([[0.0, 3.0, 0.0], [9.0, -9.0, 0.0], [6.0, 0.0, 0.0]], np.float32)
    # of a row with one entry x among three the deviation is x √2/3: (3 + 6) against (0.5 + 0.25), nobody else counts;
    # 12 lies between the powers 8 and 16, and nearer to 16
    assert even_weight(lambda rows: scores[rows], histories, term.matrix()) == 16
    barred = np.column_stack([scores, np.full((3, 2), -np.inf, np.float32)])
    assert even_weight(lambda rows: barred[rows], histories, term.matrix()) == 16
    assert even_weight(lambda rows: 0 * scores[rows], histories, term.matrix()) == 1


def test_the_search_begins_where_evidence_and_base_count_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values of sparse data are small: a search from a fixed weight sees few ranks change, for the worse, and ends."""
    dataset = tiny_dataset()
    split = split_dataset(dataset, "random", seed=0)
    term = fit_closed_form(split.train, {}, ClosedFormSettings(20.0, 0.0, {}))
    base = np.random.default_rng(0).normal(size=split.train.shape).astype(np.float32)
    even = even_weight(lambda block: base[block], split.train, term.matrix())
    begun: list[float] = []

    def search(_: Any, first: float) -> float:
        begun.append(first)
        return first

    monkeypatch.setattr(blend, "best_weight", search)
    for scale in (1.0, 2.0**-10):
        choose_blend(lambda block: base[block], split.train, term.weighted(scale), split)
    assert begun == [even, even * 2.0**10]

    def quality(weight: float) -> float:
        if weight < 16:
            return 0.099 if weight else 0.10
        return 0.12 - abs(float(np.log2(weight / 700))) / 100

    assert best_weight(quality, 2.0) == 0
    assert best_weight(quality, 512.0) == pytest.approx(700, rel=2**0.5 - 1)


def changed(split: Split, content: dict[str, Any], what: str) -> tuple[Split, dict[str, Any]]:
    if what == "graphs":
        return split, {name: graph * np.float32(0.5) for name, graph in content.items()}
    if what == "modalities":
        return split, {"textual": content["visual"], "visual": content["textual"]}
    return replace(split, train=split.test) if what == "train" else replace(split, valid=split.test), content


@pytest.mark.parametrize("what", ["train", "valid", "graphs", "modalities"])
def test_a_resumed_run_chooses_the_closed_form_again_where_the_data_are_others(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, config, asked = tiny_dataset(), EvidenceConfig(enabled=True), []

    def choose(*given: Any, **_: Any) -> ClosedFormSettings:
        asked.append(given)
        return ClosedFormSettings(float(len(asked)), 0.5, {"visual": 1.0}, 0.25)

    monkeypatch.setattr(blend, "choose", choose)
    split, content = split_dataset(dataset, "random", seed=0), content_graphs(dataset)
    run = Run(tmp_path, resume=True)
    first = choose_closed_form(split, content, config, run)
    assert choose_closed_form(split, content_graphs(dataset), config, run) == first
    assert len(asked) == 1
    choose_closed_form(*changed(split, content, what), config, run)
    assert len(asked) == 2
    choose_closed_form(split, content, config, replace(run, seed=1))
    choose_closed_form(split, content, config, run, new_items=False)
    assert len(asked) == 4


def test_the_weight_that_is_chosen_ranks_validation_best() -> None:
    dataset = tiny_dataset()
    split = split_dataset(dataset, "random", seed=0)
    term = fit_closed_form(split.train, {}, ClosedFormSettings(20.0, 0.0, {}))
    noise = np.random.default_rng(0).normal(size=split.train.shape).astype(np.float32)
    rows = np.flatnonzero(np.diff(split.valid.indptr)).astype(np.int64)
    positives, evidence = split.valid[rows], (split.train @ term.matrix()).toarray()

    def quality(weight: float) -> float:
        ranks = rank_positives(lambda block: noise[block] + weight * evidence[block], positives, split.train, rows)
        return float((recall_at(20, ranks, positives.indptr) + ndcg_at(20, ranks, positives.indptr)).mean())

    chosen = choose_blend(lambda block: noise[block], split.train, term, split)
    assert chosen > 1  # of noise on one side and evidence on the other
    assert quality(chosen) == max(quality(weight) for weight in (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, chosen))
    assert choose_blend(lambda block: noise[block], split.train, None, split) == 0
