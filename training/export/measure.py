"""What is measured on the very arrays that a snapshot stores: candidate recall, who carries the score, expert use.

Axes: `T` terms, `M` modalities. Any scoring kind; nothing here knows a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from model_store.draft import SnapshotDraft
from model_store.scoring import Scorer, scorer_for
from training.export.measure_candidates import Oracle, Sample, candidates_of

USERS = 400


def measured(
    draft: SnapshotDraft, *, seed: int, categories: Sequence[Sequence[str]] = (), users: int = USERS
) -> SnapshotDraft:
    """The draft with its retrieval depths, candidate recall, routed variance share and expert use filled in.

    Args:
        draft: what will be published.
        seed: of all draws.
        categories: (I,) of every item, for filtered answers.
        users: how many users are measured.

    """
    scorer = scorer_for(draft)
    oracle = Oracle(draft, scorer)
    samples = oracle.known_users(np.random.default_rng([seed, 11]), users)
    candidates = candidates_of(oracle, samples, categories, seed)
    routing, share = _routing(scorer, samples, candidates.depth)
    update = {"candidates": candidates, "routing": routing, "routed_variance_share": share}
    return replace(draft, manifest=draft.manifest.model_copy(update=update))


def _routing(
    scorer: Scorer, samples: list[Sample], depth: int
) -> tuple[dict[str, dict[str, float] | float], float | None]:
    """Per term its share of pairs, mean weight and share of the absolute score among served items; and the share of the
    score's variance within a user's candidates that routed terms carry: `Cov(routed, score) / Var(score)`, averaged."""
    routed = np.array([term.role != "base" for term in scorer.terms])
    shares, used, weights, amounts, by_modality = [], [], [], [], []
    for sample in samples:
        pool = scorer.score(sample.state, sample.order[:depth])
        total = pool.scores
        if len(total) > 1 and total.std() > 0:
            part = pool.contributions[:, routed].sum(axis=1)
            shares.append(float(np.cov(part, total)[0, 1] / total.var(ddof=1)))
        served = scorer.score(sample.state, sample.best)
        used.append((served.contributions != 0).mean(axis=0))
        weights.append(served.weights.mean(axis=0))
        amounts.append(np.abs(served.contributions).mean(axis=0))
        by_modality.append(np.abs(served.amounts.sum(axis=1)).mean(axis=0))
    if not samples:
        return {}, None
    size, modality_size = np.mean(amounts, axis=0), np.mean(by_modality, axis=0)
    names = [term.name for term in scorer.terms]

    def by_term(values: NDArray[np.floating], chosen: NDArray[np.bool_]) -> dict[str, float]:
        return {name: round(float(v), 6) for name, v, ok in zip(names, values, chosen, strict=True) if ok}

    every = np.ones(len(names), bool)
    routing: dict[str, dict[str, float] | float] = {
        "users_measured": float(len(samples)),
        "share_of_pairs": by_term(np.mean(used, axis=0), every),
        "mean_weight": by_term(np.nan_to_num(np.mean(weights, axis=0)), routed),
        "share_of_score": by_term(size / max(size.sum(), 1e-12), every),
        "share_of_score_by_modality": {
            name: round(float(value), 6)
            for name, value in zip(scorer.modalities, modality_size / max(modality_size.sum(), 1e-12), strict=True)
        },
    }
    return routing, (float(np.mean(shares)) if shares and routed.any() else None)
