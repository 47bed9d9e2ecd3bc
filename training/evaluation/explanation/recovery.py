"""Do a user's attributed amounts name what the user really goes by? Measured on the demo catalogue.

Axes: `U` users, `K` planted kinds, `T` terms, `M` modalities.

The rule that reads a driver out of amounts is fixed beforehand and knows nothing of the planted kinds: the modality
whose share in the list's margin is the most unusual one among all users, mixtures included. Raw amounts would not do:
a modality that carries more for everybody says little about anybody.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from model_store.scoring import Readable, Scorer
from training.data.demo.choices import KINDS, MODALITY_OF_KIND
from training.data.demo.oracle import balanced_accuracy, bayes_oracle
from training.data.demo.truth import Truth
from training.errors import TrainingError
from training.evaluation.explanation.served import nominal_shares, routed_terms, served


def unusual_share(amounts: NDArray[np.float64]) -> NDArray[np.int64]:
    """(U,) the column whose share in the user's amounts (U, M) lies the most standard deviations above its mean.

    Shares are of the sum of absolute amounts. A user without any amount gets the first column; a column that is the
    same for everybody is never chosen before one that is above its mean.
    """
    size = np.abs(amounts).sum(axis=1, keepdims=True)
    shares = np.divide(amounts, size, out=np.zeros_like(amounts), where=size > 0)
    spread = shares.std(axis=0)
    scores = np.divide(shares - shares.mean(axis=0), spread, out=np.zeros_like(shares), where=spread > 0)
    columns: NDArray[np.int64] = scores.argmax(axis=1)
    return columns


def recovery(
    scorer: Scorer, snapshot: Readable, user_ids: Sequence[str], truth: Truth, *, seed: int
) -> dict[str, JsonValue]:
    """Balanced accuracy over the pure users with which their lists' margins name the planted driver.

    Beside it stand the generator's Bayes oracle, the majority class, and two controls read by the same rule: the mean
    gate weights of the list times the experts' nominal shares (no contributions), and random weights in their place.

    Args:
        scorer: scores the snapshot.
        snapshot: the served form.
        user_ids: of the snapshot's user rows; those that the truth does not know count as unlabelled.
        truth: what was planted.
        seed: of the random weights.

    Raises:
        TrainingError: the truth knows none of these users, or fewer than two of the planted drivers are modalities.

    """
    kinds = np.array([row for row, kind in enumerate(KINDS) if MODALITY_OF_KIND[kind] in scorer.modalities])
    columns = [scorer.modalities.index(MODALITY_OF_KIND[KINDS[row]]) for row in kinds]
    kind_of = dict(zip(truth.user_ids, truth.users.kind.tolist(), strict=True))
    planted = np.array([kind_of.get(user_id, len(KINDS)) for user_id in user_ids])
    judged = np.isin(planted, kinds)
    if len(kinds) < 2 or not judged.any():
        raise TrainingError("expected at least two of the planted drivers as modalities, and users of the truth")
    readings = _readings(scorer, snapshot, len(user_ids), np.random.default_rng([seed, 21]))
    named = {name: kinds[unusual_share(values[:, columns])] for name, values in readings.items()}
    oracle, counts = bayes_oracle(truth), np.bincount(planted[judged])
    return {
        "users": int(judged.sum()),
        **{name: round(balanced_accuracy(planted[judged], values[judged]), 4) for name, values in named.items()},
        "by_kind": {
            KINDS[row]: round(float(np.mean(named["whole"][planted == row] == row)), 4) for row in kinds if counts[row]
        },
        "bayes_oracle": round(oracle.balanced_accuracy, 4),
        "chance": round(1 / len(kinds), 4),
        "majority_class": round(float(counts.max() / counts.sum()), 4),
    }


def _readings(
    scorer: Scorer, snapshot: Readable, n_users: int, rng: np.random.Generator
) -> dict[str, NDArray[np.float64]]:
    """(U, M) by name: margins of the whole score and of its routed terms, and the two controls."""
    lists = [served(scorer, snapshot, row) for row in range(n_users)]
    margins = np.stack([found.margin for found in lists])  # (U, T, M)
    readings: dict[str, NDArray[np.float64]] = {"whole": margins.sum(axis=1)}
    routed = routed_terms(scorer)
    if routed.any():
        gates = np.stack([found.weights for found in lists])[:, routed]
        random = rng.dirichlet(np.ones(gates.shape[1]), size=n_users)
        shares = nominal_shares(scorer.terms, scorer.modalities)[routed]
        readings |= {
            "routed": margins[:, routed].sum(axis=1),
            "gates_alone": gates @ shares,
            "random_weights": random @ shares,
        }
    return readings
