"""The item-item evidence beside any model: its closed form, and the weight that ranks validation best.

Axes: `U` users, `I` items.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields

import numpy as np
from scipy import sparse

from training.data.dataset import Dataset
from training.data.splits import Split
from training.evaluation.metrics import ndcg_at, recall_at
from training.evaluation.ranking import ScoreBlock, rank_positives
from training.fit.run import Run
from training.graph.content import content_knn
from training.models.closed_form import ClosedFormSettings, fit_closed_form
from training.models.closed_form_search import MOST_USERS, USUAL_POINTS, choose
from training.models.item_item import EvidenceConfig, ItemItem


@dataclass(frozen=True)
class Blend:
    """What validation chose, for a refit."""

    closed_form: ClosedFormSettings
    weight: float


def content_graphs(dataset: Dataset) -> dict[str, sparse.csr_array]:
    """The content graph of every modality, as the closed form reads it."""
    return {name: content_knn(matrix.values, matrix.present) for name, matrix in dataset.features.items()}


def choose_closed_form(
    split: Split, content: Mapping[str, sparse.csr_array], config: EvidenceConfig, run: Run, *, new_items: bool = True
) -> ClosedFormSettings | None:
    """λ, the content prior and the noise of the item-item model, by validation; `new_items`: and κ.

    None where the term is off, or validation has no positive to judge it by.
    """
    if not config.enabled or not split.valid.nnz:
        return None
    with run.bar("closed form", USUAL_POINTS + 1) as advance:
        found = run.kept(
            "closed-form",
            _digest(f"{run.seed} {new_items}", {"train": split.train, "valid": split.valid, **content}),
            lambda: asdict(
                choose(
                    split.train,
                    split.valid,
                    content,
                    new_items=new_items,
                    seed=run.seed,
                    device=run.device,
                    tried=advance,
                )
            ),
        )
        settings = ClosedFormSettings(**found)
        advance(f"λ {settings.reg:.3g}")
    return settings


def _digest(how: str, matrices: Mapping[str, sparse.csr_array]) -> str:
    """What tells apart everything that the closed form is chosen by, and what is chosen."""
    found = hashlib.sha256(f"{how} {[field.name for field in fields(ClosedFormSettings)]}".encode())
    for name, matrix in matrices.items():
        for array in (matrix.indptr, matrix.indices, matrix.data):
            found.update(f"{name} {array.dtype} {len(array)} ".encode() + array.tobytes())
    return found.hexdigest()


def item_item(
    train: sparse.csr_array,
    content: Mapping[str, sparse.csr_array],
    settings: ClosedFormSettings | None,
    config: EvidenceConfig,
    run: Run,
) -> ItemItem | None:
    """The item-item model of these interactions."""
    if settings is None:
        return None
    return fit_closed_form(train, content, settings, per_row=config.neighbours, device=run.device)


def choose_blend(base: ScoreBlock, histories: sparse.csr_array, term: ItemItem | None, split: Split) -> float:
    """The weight of the item-item term that ranks validation best beside the base."""
    if term is None:
        return 0.0
    total = term.matrix()
    rows = np.flatnonzero(np.diff(split.valid.indptr)).astype(np.int64)
    rows = rows[:: max(1, len(rows) // MOST_USERS)]
    positives = split.valid[rows]

    def quality(weight: float) -> float:
        ranks = rank_positives(
            lambda block: base(block) + weight * (histories[block] @ total).toarray(),
            positives,
            split.train,
            rows,
        )
        return float((recall_at(20, ranks, positives.indptr) + ndcg_at(20, ranks, positives.indptr)).mean())

    return best_weight(quality, even_weight(base, histories, total))


def even_weight(base: ScoreBlock, histories: sparse.csr_array, total: sparse.csr_array) -> float:
    """The weight with which the term, `total` (I, I), varies as much over the catalogue as the base's finite scores.

    By some hundred users. It tells the scale of both, which depends on model and data: on sparse data the term's values
    can be a thousand times smaller than cosines, and a search that begins where the term does not count ends there. To
    a power of two, so that a model and the same model continued try the same weights.
    """
    rows = np.flatnonzero(np.diff(histories.indptr)).astype(np.int64)
    rows = rows[:: max(1, len(rows) // 256)]
    scores = base(rows)
    spread = np.std(scores, axis=1, where=np.isfinite(scores)).mean()
    of_term = (histories[rows] @ total).toarray().std(axis=1).mean()
    even = float(spread) / max(float(of_term), 1e-12)
    return 2.0 ** round(np.log2(even)) if even > 0 else 1.0


def best_weight(quality: Callable[[float], float], first: float = 1.0) -> float:
    """The non-negative weight of highest quality, to within √2: doubling or halving from `first`, then between.

    How large the term's values are depends on the data, so no fixed grid would do.
    """
    tried = {weight: quality(weight) for weight in (0.0, first)}
    for factor in (2.0, 0.5):
        weight, worse = first * factor, 0
        while worse < 2 and 1e-3 < weight / first < 1e4:
            tried[weight] = quality(weight)
            worse = 0 if tried[weight] >= max(tried.values()) else worse + 1
            weight *= factor
    best = max(tried, key=tried.__getitem__)
    tried |= {weight: quality(weight) for weight in (best / 2**0.5, best * 2**0.5) if best}
    return max(tried, key=tried.__getitem__)
