"""Items that nobody has taken: the vectors that content gives them, and how much of lists they are let into [ours].

Axes: `I` items, `n` new items, `M` modalities (behaviour first), `D` width, `d_m` features of a modality.

    V_i = l · unit(b + Σ_m F^m_i P_m + s Σ_j N_ij V_j)

`N` are an item's content neighbours with interactions, rows summing to one; `P` and `b` the ridge regression (strength
λ) of `V − s N V` on content, over the items with interactions. So content says what it can, and of the rest a new item
takes over what its neighbours agree on. λ and `s` rank validation's new items best among themselves. Their length `l`
(1, but where that alone shows too many of them) and the exposure (`model_store/scoring/pair.py`) rank all items best,
at a cost to those with interactions of at most `cold_cost`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from training.data.features import FeatureMatrix
from training.data.splits import Split
from training.evaluation.metrics import ndcg_at, recall_at
from training.evaluation.ranking import rank_positives
from training.graph.content import centred_unit_rows, mean_graph
from training.graph.normalise import row_normalise
from training.models.closed_form_search import COLD_SHARE, ENOUGH_COLD_POSITIVES
from training.models.magnet.frozen import FrozenBase, NewItemForm, unit_blocks
from training.models.magnet.masked import Masking
from training.models.magnet.scored import Evidence, MagnetScorer, Mixture

F32 = NDArray[np.float32]
RIDGES = (1.0, 3.0, 10.0, 30.0, 100.0)
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
EXPOSURES = (0.0, *(2 ** (step / 8) for step in range(-8, 25)))
LENGTHS = (1.0, 0.7, 0.5, 0.35, 0.25)
MOST_USERS = 2_000
"""Users that exposure and form are chosen on, where there are more."""


@dataclass(frozen=True)
class Content:
    """What is known of every item without anybody having taken it."""

    features: Mapping[str, F32]
    """(I, d_m) centred unit rows per content modality, in the dataset's order; zero where missing."""
    graph: sparse.csr_array
    """(I, I) the content graphs' mean."""
    warm: NDArray[np.bool_]
    """(I,) items with interactions, that others learn from."""

    @cached_property
    def neighbours(self) -> sparse.csr_array:
        """(I, I) `N`."""
        return row_normalise(sparse.csr_array(self.graph * self.warm.astype(np.float32)[None, :]))

    def masked(self, masking: Masking) -> Content:
        """Without a modality of some items."""
        left = self.features[masking.modality].copy()
        left[masking.item_rows] = 0
        features = {**self.features, masking.modality: left}  # in the dataset's order
        graph = self.graph if masking.content is None else mean_graph(masking.content, len(self.warm))
        return replace(self, features=features, graph=graph)


@dataclass(frozen=True)
class FormSettings:
    """What defines the form beside the data."""

    ridge: float
    """λ."""
    share: float
    """s."""
    length: float = 1.0
    """l."""


def content_of(
    features: Mapping[str, FeatureMatrix], graphs: Mapping[str, sparse.csr_array], train: sparse.csr_array
) -> Content | None:
    """What content says of the items of these interactions (U, I); None where there is no content."""
    if not features:
        return None
    rows = {name: centred_unit_rows(matrix.values, matrix.present)[0] for name, matrix in features.items()}
    n_items = train.shape[1]
    return Content(rows, mean_graph(graphs, n_items), np.bincount(train.indices, minlength=n_items) > 0)


class Regression:
    """Of the vectors of items with interactions on their content: solved once for each λ, for every `s`."""

    def __init__(self, base: FrozenBase, content: Content) -> None:
        self.base, self.content = base, content
        vectors = base.candidates * np.float32(base.members**0.5)
        targets = np.concatenate([vectors, content.neighbours @ vectors], axis=1, dtype=np.float64)[content.warm]
        known = [rows[content.warm] for rows in content.features.values()]
        known.append(np.ones((len(targets), 1), np.float32))
        side_by_side = np.concatenate(known, axis=1, dtype=np.float64)
        self._gram, self._products = side_by_side.T @ side_by_side, side_by_side.T @ targets
        self._solved: dict[float, NDArray[np.float64]] = {}

    def form(self, settings: FormSettings) -> NewItemForm:
        """The candidate side of the form; the history side stays as the base learned it."""
        of_vectors, of_neighbours = np.split(self._at(settings.ridge), 2, axis=1)
        solved = (of_vectors - settings.share * of_neighbours).astype(np.float32)
        cuts = np.cumsum([rows.shape[1] for rows in self.content.features.values()])
        *projections, common = np.split(solved, cuts)
        neighbours = self.base.new_item.neighbours.copy()
        neighbours[1] = settings.share
        return replace(
            self.base.new_item,
            projections=dict(zip(self.content.features, projections, strict=True)),
            common=common[0],
            neighbours=neighbours,
            length=settings.length,
        )

    def _at(self, ridge: float) -> NDArray[np.float64]:
        """(d + 1, 2D): the weights of content, the constant last, for the vectors and for their neighbours' mean."""
        if ridge not in self._solved:
            penalty = np.full(len(self._gram), ridge)
            penalty[-1] = 1e-6  # what all items have in common is no matter of strength
            solved = np.linalg.solve(self._gram + np.diag(penalty), self._products).astype(np.float64, copy=False)
            self._solved[ridge] = solved
        return self._solved[ridge]


def fit_form(base: FrozenBase, content: Content, settings: FormSettings) -> NewItemForm:
    """The form with these settings, fitted to the base's vectors."""
    return Regression(base, content).form(settings)


def parts_of_new(base: FrozenBase, form: NewItemForm, content: Content, rows: NDArray[np.int64]) -> F32:
    """(n, M, D) the parts of the items at `rows` (n,), as if nobody had taken them."""
    flat = base.parts.reshape(len(base.parts), -1) * np.float32(base.members**0.5)
    parts = (content.neighbours[rows] @ flat).reshape(len(rows), *base.parts.shape[1:]) * form.neighbours[1]
    parts[:, 0] += form.common
    for column, (name, features) in enumerate(content.features.items(), start=1):
        parts[:, column] += features[rows] @ form.projections[name]
    total = parts.sum(axis=1)
    unit = unit_blocks(total, base.members)
    scale = np.divide(unit, total, out=np.zeros_like(unit), where=total != 0)
    result: F32 = (parts * scale[:, None] * form.length).astype(np.float32)
    return result


def with_new_items(base: FrozenBase, form: NewItemForm, content: Content) -> FrozenBase:
    """The base with this form, which its items without interactions have."""
    again = base.again
    parts = base.parts.copy()
    new = np.flatnonzero(~content.warm)
    parts[new] = parts_of_new(base, form, content, new)
    return replace(
        base,
        parts=parts,
        new_item=form,
        again=None if again is None else lambda masking: with_new_items(again(masking), form, content.masked(masking)),
    )


def stand_ins(split: Split, seed: int) -> NDArray[np.bool_]:
    """(I,) the items that choices about new ones are made on: those without interactions, where validation has enough.

    Otherwise a share of all others, drawn at random, so that they are liked as often as real ones would be.
    """
    degree = np.bincount(split.train.indices, minlength=split.train.shape[1])
    new: NDArray[np.bool_] = degree == 0
    if np.count_nonzero(new[split.valid.indices]) >= ENOUGH_COLD_POSITIVES:
        return new
    return ~new & (np.random.default_rng([seed, 9]).random(len(degree)) < COLD_SHARE)


def choose_form(base: FrozenBase, content: Content, users: F32, split: Split, seed: int) -> FormSettings:
    """λ and s that rank the stand-ins best among themselves, for users with the vectors `users` (U, D)."""
    new = stand_ins(split, seed)
    learnt_from = replace(content, warm=content.warm & ~new)
    among = np.flatnonzero(new)
    liked = split.valid[:, among]
    rows = _some(liked)
    if not len(rows) or not learnt_from.warm.any():
        return FormSettings(RIDGES[len(RIDGES) // 2], SHARES[len(SHARES) // 2])

    regression = Regression(base, learnt_from)

    def quality(settings: FormSettings) -> float:
        form = regression.form(settings)
        vectors = parts_of_new(base, form, learnt_from, among).sum(axis=1)
        ranks = rank_positives(lambda block: users[block] @ vectors.T, liked[rows], split.train[:, among], rows)
        return _quality(ranks, liked[rows])

    return max((FormSettings(ridge, share) for ridge in RIDGES for share in SHARES), key=quality)


def choose_exposure(
    evidence: Evidence, mixture: Mixture, content: Content, settings: FormSettings, split: Split, cost: float, seed: int
) -> tuple[FormSettings, float]:
    """The length, greatest first, and the exposure that rank validation best.

    They may take at most the share `cost` off the Recall@20 of items with interactions.
    """
    new = stand_ins(split, seed)
    for length in LENGTHS:
        tried = replace(settings, length=length)
        quality = _by_exposure(as_if_new(evidence, content, tried, new), mixture, split, cost)
        if max(quality) > -np.inf:
            break
    return tried, EXPOSURES[int(np.argmax(quality))]


def _by_exposure(shown: Evidence, mixture: Mixture, split: Split, cost: float) -> list[float]:
    """Validation's quality with every exposure; -inf where it takes more than `cost` off items with interactions."""
    scorers = [MagnetScorer(replace(shown, exposure=exposure), mixture) for exposure in (0.0, 1.0)]
    rows = _some(split.valid)
    positives = split.valid[rows]
    ranks = np.empty((1 + len(EXPOSURES), positives.nnz), np.int32)
    for start in range(0, len(rows), 256):
        block = rows[start : start + 256]
        least, most = (scorer.score_block(block) for scorer in scorers)
        hidden = np.where(shown.degree > 0, least, -np.inf)
        tried = (least + np.float32(exposure) * (most - least) for exposure in EXPOSURES)  # experts are linear in it
        part = slice(*positives.indptr[[start, start + len(block)]])
        for place, scores in enumerate((hidden, *tried)):
            ranks[place, part] = _ranks(scores, positives[start : start + 256], split.train, block)
    warm = shown.degree[positives.indices] > 0
    users = np.repeat(np.arange(len(rows)), np.diff(positives.indptr))
    each = np.maximum(np.bincount(users[warm], minlength=len(rows)), 1)
    recall = [(np.bincount(users[warm & (found < 20)], minlength=len(rows)) / each).sum() for found in ranks]
    return [
        _quality(found, positives) if kept >= (1 - cost) * recall[0] else -np.inf
        for found, kept in zip(ranks[1:], recall[1:], strict=True)
    ]


def as_if_new(evidence: Evidence, content: Content, settings: FormSettings, new: NDArray[np.bool_]) -> Evidence:
    """The evidence with the items `new` (I,) as if nobody had taken them; histories stay as they are."""
    learnt_from = replace(content, warm=content.warm & ~new)
    base = with_new_items(evidence.base, fit_form(evidence.base, learnt_from, settings), learnt_from)
    degree = np.where(new, 0, evidence.degree).astype(np.float32)
    keep = sparse.diags_array((~new).astype(np.float32))
    shares = {column: sparse.csr_array(share @ keep) for column, share in evidence.item_item_shares.items()}
    return replace(evidence, base=base, degree=degree, item_item_shares=shares)


def _ranks(
    scores: F32, positives: sparse.csr_array, seen: sparse.csr_array, user_rows: NDArray[np.int64]
) -> NDArray[np.int32]:
    return rank_positives(lambda _: scores, positives, seen, user_rows, block=len(user_rows))


def _some(positives: sparse.csr_array) -> NDArray[np.int64]:
    rows = np.flatnonzero(np.diff(positives.indptr)).astype(np.int64)
    return rows[:: max(1, len(rows) // MOST_USERS)]


def _quality(ranks: NDArray[np.int32], positives: sparse.csr_array) -> float:
    return float((recall_at(20, ranks, positives.indptr) + ndcg_at(20, ranks, positives.indptr)).mean())
