"""Tables of hard candidates: the best by the static score, and only items that are allowed."""

from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from tests.support.tiny_dataset import tiny_dataset
from tests.support.tiny_magnet import Fit, fit_magnet, plain_sum
from training.models.magnet.candidates import candidate_table


def dense(matrix: sparse.csr_array) -> Any:
    return matrix.toarray()


def test_candidates_are_the_best_by_the_static_score_with_their_positives(three: Fit) -> None:
    evidence, split = three.fitted.evidence, three.split
    users = np.flatnonzero(np.diff(split.valid.indptr)).astype(np.int64)
    table = candidate_table(evidence, users, split.valid, split.train, 12)
    for row, user in enumerate(users):
        scores = plain_sum(evidence, np.array([user]))[0].copy()
        scores[dense(split.train[[user]])[0] > 0] = -np.inf
        assert set(table.items[row].tolist()) == set(np.argsort(-scores, kind="stable")[:12].tolist())
        positives = set(split.valid.indices[split.valid.indptr[user] : split.valid.indptr[user + 1]].tolist())
        assert set(table.items[row][table.positive[row]].tolist()) == positives & set(table.items[row].tolist())
        assert table.held_out[row] == len(positives)
    assert 0 < table.reachable < 1
    everything_there = candidate_table(evidence, users, split.valid, split.train, 1000)
    assert everything_there.items.shape == (len(users), three.dataset.n_items)
    assert everything_there.reachable == 1


def test_only_what_is_among_the_allowed_becomes_a_candidate(tmp_path: Path) -> None:
    fit = fit_magnet(tiny_dataset(), tmp_path)
    among = np.arange(fit.dataset.n_items) % 3 > 0
    rows = np.flatnonzero(np.diff(fit.split.valid.indptr)).astype(np.int64)
    table = candidate_table(
        fit.fitted.evidence, rows, fit.split.valid, fit.split.train, fit.dataset.n_items, among=among
    )
    shown = table.items[table.unseen].numpy()
    assert among[shown].all()
    assert len(np.unique(shown)) > among.sum() / 2
