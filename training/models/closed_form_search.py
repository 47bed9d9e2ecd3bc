"""Choose the closed form's λ, a, p, c, α and κ on the validation split, over grids that follow the data's own scale.

U users, I items, M content modalities, n users of a block. One inverse per λ, a and p is the price; everything else is
linear in `H P`, so a whole grid of content weights costs one pass over the users. The strength `c λ` of the prior,
counted in interactions, moves far less with λ than c does, so the grid is in strengths. How users are tempered and
histories thought noisy is tried one after the other around the λ that suits a middling choice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from training.evaluation.blocks import in_threads
from training.evaluation.metrics import ndcg_at, recall_at
from training.evaluation.ranking import rank_positives
from training.models.closed_form import ClosedFormSettings, Moments, Solution, moments_of, user_weights

STRENGTHS = (3.0, 6.0, 12.0, 25.0, 50.0, 100.0, 200.0)
COLD_SCALES = (0.003, 0.006, 0.012, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
COLD_SHARE = 0.2
"""Share of the warm items that stand in for cold ones when κ is chosen."""
ENOUGH_COLD_POSITIVES = 100
"""With this many validation positives on items that are really cold, κ is chosen on those instead."""
FIRST_REG = 10.0
"""The search for λ starts at this multiple of a warm item's mean number of interactions and moves by factors of 2."""
BLOCK = 512
USUAL_POINTS = 8
"""Points that are tried; more where λ is far from where the search starts."""
MOST_PREDICTORS = 10_000
"""Items that others are predicted by while settings are chosen: half of what predicts in the end, for an eighth of the
time. Half of the items choose what all of them do (training/LOG.md, "Popular items choose")."""
MOST_USERS = 20_000
"""Users that settings are chosen on, where there are many more."""


@dataclass(frozen=True)
class Noise:
    """a and p: how long histories are tempered, and how noisy they are thought to be."""

    tempering: float = 0.0
    denoising: float = 0.0


FIRST_NOISE = Noise(0.5, 0.5)
TEMPERINGS = (0.0,)
DENOISINGS = (0.0, 2.0)
"""Tried in place of the first ones."""


@dataclass(frozen=True)
class _Prior:
    """One point of the content grid."""

    strength: float
    mix: Mapping[str, float]


def choose(
    train: sparse.csr_array,
    valid: sparse.csr_array,
    graphs: Mapping[str, sparse.csr_array],
    *,
    reg: float | None = None,
    plain: bool = False,
    new_items: bool = True,
    seed: int = 0,
    device: torch.device | None = None,
    tried: Callable[[str], None] = lambda note: None,
) -> ClosedFormSettings:
    """The settings with the highest validation Recall@20 + NDCG@20 (the sum is less granular than recall alone).

    Args:
        train: (U, I) training interactions.
        valid: (U, I) validation positives.
        graphs: (I, I) symmetric content graph per modality; may be empty.
        reg: λ where it is given; searched for where omitted.
        plain: keep a and p at 0; without graphs this is EASE.
        new_items: choose κ; 0 where items without interactions are not scored by their neighbours.
        seed: which items stand in for cold ones.
        device: where inverses are computed; the CPU where omitted.
        tried: told of each point whose inverse was made and ranked, some `USUAL_POINTS` of them; of a large catalogue
            each takes minutes.

    """
    user_rows = np.flatnonzero(np.diff(valid.indptr)).astype(np.int64)
    user_rows = user_rows[:: max(1, len(user_rows) // MOST_USERS)]
    search = _Search(train, valid[user_rows], user_rows, graphs, device or torch.device("cpu"), tried)
    noise = Noise() if plain else FIRST_NOISE
    unit = search.unit(noise.tempering)
    best = search.at(noise, reg or FIRST_REG * unit, [_Prior(0.0, _mixes(graphs)[0]), *search.grid(noise.tempering)])
    if reg is None:
        best = search.settled(best)
    if not plain:
        for tempering in TEMPERINGS:
            best = max(best, search.tempered(best, tempering, reg), key=_objective)
        for denoising in DENOISINGS:
            trial = search.at(Noise(best.noise.tempering, denoising), best.reg, [best.prior])
            best = max(best, trial, key=_objective)
        if reg is None and best.noise != noise:
            best = search.settled(best)
    degree = np.bincount(train.indices, minlength=train.shape[1])
    cold_scale = search.cold_scale(best, degree, seed) if graphs and new_items else 0.0
    strength = best.prior.strength / best.reg
    return ClosedFormSettings(best.reg, strength, best.prior.mix, cold_scale, **asdict(best.noise))


@dataclass(frozen=True)
class _Point:
    objective: float
    noise: Noise
    reg: float
    prior: _Prior
    solution: Solution


_objective = attrgetter("objective")


class _Search:
    """What stays the same over the grid."""

    def __init__(
        self,
        train: sparse.csr_array,
        positives: sparse.csr_array,
        user_rows: NDArray[np.int64],
        graphs: Mapping[str, sparse.csr_array],
        device: torch.device,
        tried: Callable[[str], None],
    ) -> None:
        self.train, self.positives, self.user_rows, self.graphs, self.device, self.tried = (
            train, positives, user_rows, graphs, device, tried,
        )  # fmt: skip
        self._moments: tuple[float, Moments] | None = None

    def moments(self, tempering: float) -> Moments:
        """What is needed of `G`; the last one is kept."""
        if self._moments is None or self._moments[0] != tempering:
            self._moments = (tempering, moments_of(self.train, tempering, MOST_PREDICTORS))
        return self._moments[1]

    def unit(self, tempering: float) -> float:
        """A warm item's mean number of interactions, each with its user's weight."""
        weighted = float(user_weights(self.train, tempering) @ np.diff(self.train.indptr))
        return weighted / max(len(np.unique(self.train.indices)), 1)

    def grid(self, tempering: float) -> list[_Prior]:
        """All mixes of the graphs in all strengths; none where there is no content."""
        if not self.graphs:
            return []
        weight = self.unit(tempering) / self.unit(0.0)
        return [_Prior(strength * weight, mix) for mix in _mixes(self.graphs) for strength in STRENGTHS]

    def settled(self, best: _Point) -> _Point:
        """With λ, and the prior's strength beside it, moved for as long as that ranks better."""
        for factor in (2.0, 0.5):
            moved = False
            while True:
                trial = self.at(best.noise, best.reg * factor, _around(best.prior))
                if trial.objective <= best.objective:
                    break
                best, moved = trial, True
            if moved:
                break
        return best

    def tempered(self, best: _Point, tempering: float, reg: float | None) -> _Point:
        """The same with users tempered so, λ (where it is not given) and the prior in its units."""
        ratio = self.unit(tempering) / self.unit(best.noise.tempering)
        prior = _Prior(best.prior.strength * ratio, best.prior.mix)
        return self.at(Noise(tempering, best.noise.denoising), reg or best.reg * ratio, [prior])

    def at(self, noise: Noise, reg: float, priors: Sequence[_Prior]) -> _Point:
        """The best of these priors with one inverse."""
        solution = Solution(self.moments(noise.tempering), reg, self.device, noise.denoising)
        ranks = np.empty((len(priors), self.positives.nnz), dtype=np.int32)

        def rank(start: int) -> None:
            rows = self.user_rows[start : start + BLOCK]
            history = self.train[rows]
            products = solution.products(history)
            behaviour = solution.behaviour(history, products)
            used = {name for prior in priors if prior.strength for name, alpha in prior.mix.items() if alpha}
            content = {name: solution.content(products, self.graphs[name]) / np.float32(reg) for name in used}
            for place, prior in enumerate(priors):
                scores = behaviour
                for name, alpha in prior.mix.items():
                    if prior.strength and alpha:
                        scores = scores + np.float32(prior.strength * alpha) * content[name]
                self._rank(start, rows, scores, ranks[place])

        in_threads(rank, range(0, len(self.user_rows), BLOCK))
        objectives = [self._objective(of_prior) for of_prior in ranks]
        best = int(np.argmax(objectives))
        self.tried(f"λ {reg:.3g}")
        return _Point(objectives[best], noise, reg, priors[best], solution)

    def cold_scale(self, point: _Point, degree: NDArray[np.int64], seed: int) -> float:
        """κ: content neighbours alone score the cold items, the point's model the others; ranked among all.

        Cold items are simulated: a share of the warm ones loses its column and leaves the histories. The others'
        weights are not solved again without them.
        """
        if not any(point.prior.mix.values()):
            return 0.0
        really_cold = degree == 0
        if np.count_nonzero(really_cold[self.positives.indices]) >= ENOUGH_COLD_POSITIVES:
            cold = really_cold
        else:
            cold = ~really_cold & (np.random.default_rng(seed).random(len(degree)) < COLD_SHARE)
        graph = self._mixed(point.prior.mix)
        keep = sparse.diags_array((~cold).astype(np.float32))
        ranks = np.empty((len(COLD_SCALES), self.positives.nnz), dtype=np.int32)

        def rank(start: int) -> None:
            rows = self.user_rows[start : start + BLOCK]
            history = sparse.csr_array(self.train[rows] @ keep)
            products = point.solution.products(history)
            scores = point.solution.behaviour(history, products)
            scores += np.float32(point.prior.strength / point.reg) * point.solution.content(products, graph)
            neighbours = (history @ graph).toarray()[:, cold]
            for place, scale in enumerate(COLD_SCALES):
                scores[:, cold] = np.float32(scale) * neighbours
                self._rank(start, rows, scores, ranks[place])

        in_threads(rank, range(0, len(self.user_rows), BLOCK))
        return COLD_SCALES[int(np.argmax([self._objective(of_scale) for of_scale in ranks]))]

    def _mixed(self, mix: Mapping[str, float]) -> sparse.csr_array:
        """(I, I) `Σ_m α_m S^m`."""
        mixed = sparse.csr_array(self.train.shape[1:] * 2, dtype=np.float32)
        for name, alpha in mix.items():
            mixed = mixed + alpha * self.graphs[name]
        return sparse.csr_array(mixed)

    def _rank(self, start: int, rows: NDArray[np.int64], scores: NDArray[np.float32], ranks: NDArray[np.int32]) -> None:
        part = self.positives[start : start + len(rows)]
        first = self.positives.indptr[start]
        ranks[first : first + part.nnz] = rank_positives(lambda _: scores, part, self.train, rows, block=len(rows))

    def _objective(self, ranks: NDArray[np.int32]) -> float:
        indptr = self.positives.indptr
        return float(recall_at(20, ranks, indptr).mean() + ndcg_at(20, ranks, indptr).mean())


def _mixes(graphs: Mapping[str, sparse.csr_array]) -> list[dict[str, float]]:
    """Even, each modality alone, and halfway between: 2M + 1 points of the simplex, fewer where they coincide."""
    even = {name: 1.0 / len(graphs) for name in graphs}
    alone = [{name: float(name == chosen) for name in graphs} for chosen in graphs]
    halfway = [{name: (one[name] + even[name]) / 2 for name in graphs} for one in alone]
    return [even, *alone, *halfway] if len(graphs) > 1 else [even]


def _around(prior: _Prior) -> list[_Prior]:
    """The same mix at the neighbouring strengths; none where there is no content."""
    return [_Prior(prior.strength * factor, prior.mix) for factor in ((0.5, 1.0, 2.0) if prior.strength else (1.0,))]
