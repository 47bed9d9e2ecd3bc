"""What is measured on the very arrays that a snapshot stores: candidate recall, who carries the score, expert use.

Axes: `I` items, `T` terms, `M` modalities. Any scoring kind; nothing here knows a model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from model_store.draft import SnapshotDraft
from model_store.manifest import Candidates
from model_store.scoring import Scorer, UserState, scorer_for

DEPTHS = (50, 100, 200, 400, 800, 1600)
WANTED_RECALL = 0.995
SHOWN = 20
USERS = 400


@dataclass(frozen=True)
class _Sample:
    """One user's exact answer."""

    state: UserState
    best: NDArray[np.int64]  # the exact top of the unseen items
    order: NDArray[np.int64]  # unseen items by the index's inner product
    long: bool


def measured(draft: SnapshotDraft, *, seed: int, users: int = USERS) -> SnapshotDraft:
    """The draft with its retrieval depth, candidate recall, routed variance share and expert use filled in.

    The depth is the smallest that finds at least 99.5 % of the exact top 20 (all terms) in every stratum of the sample.
    """
    scorer = scorer_for(draft)
    samples = _samples(draft, scorer, np.random.default_rng([seed, 11]), users)
    depth, recall = _depth(scorer, samples, draft.n_items)
    routing, share = _routing(scorer, samples, depth)
    manifest = draft.manifest.model_copy(
        update={
            "candidates": Candidates(depth=depth, recall=recall),
            "routing": routing,
            "routed_variance_share": share,
        }
    )
    return replace(draft, manifest=manifest)


def _samples(draft: SnapshotDraft, scorer: Scorer, rng: np.random.Generator, count: int) -> list[_Sample]:
    lengths = np.diff(draft.array("history_indptr"))
    known = np.flatnonzero(lengths > 0)
    chosen = known if len(known) <= count else np.sort(rng.choice(known, count, replace=False))
    median = float(np.median(lengths[chosen])) if len(chosen) else 0.0
    vectors = np.asarray(scorer.retrieval_vectors(), dtype=np.float32)
    samples = []
    for user_row in chosen:
        state = scorer.known_user(int(user_row))
        unseen = np.setdiff1d(np.arange(draft.n_items), draft.history(int(user_row)))
        exact = scorer.score_all(state)[unseen]
        best = unseen[np.argsort(-exact, kind="stable")[:SHOWN]]
        near = vectors[unseen] @ state.vector if vectors.shape[1] else np.zeros(len(unseen))
        order = unseen[np.argsort(-near, kind="stable")[: DEPTHS[-1]]]
        samples.append(_Sample(state, best, order, long=float(lengths[user_row]) > median))
    return samples


def _depth(scorer: Scorer, samples: list[_Sample], n_items: int) -> tuple[int, dict[str, float | None]]:
    recall: dict[str, float | None] = {}
    depth = DEPTHS[0]
    for depth in DEPTHS:
        found = np.array([_found(scorer, sample, depth) for sample in samples])
        long = np.array([sample.long for sample in samples], dtype=bool)
        strata = {"": found, "/long-history": found[long], "/short-history": found[~long]}
        recall = {f"recall@{SHOWN}{name}": float(values.mean()) for name, values in strata.items() if len(values)}
        if depth >= n_items or all(value is None or value >= WANTED_RECALL for value in recall.values()):
            break
    return min(depth, n_items), recall


def _found(scorer: Scorer, sample: _Sample, depth: int) -> float:
    candidates = np.union1d(sample.order[:depth], scorer.candidates_beyond_index(sample.state, depth))
    return float(np.isin(sample.best, candidates).mean()) if len(sample.best) else 1.0


def _routing(
    scorer: Scorer, samples: list[_Sample], depth: int
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
