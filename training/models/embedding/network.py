"""What a model of this family has to say: its vectors, its loss, and what of it is served.

Axes: `U` users, `I` items, `B` triples of a batch, `D` width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from model_store.manifest import Term
from training.fit.losses import bpr_loss
from training.models.item_item import BEHAVIOUR

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Triples:
    """A batch: who took `positives` and not `negatives`; rows (B,)."""

    users: Tensor
    positives: Tensor
    negatives: Tensor


@dataclass(frozen=True)
class Vectors:
    """Users (U, D) and items (I, D) whose inner product is the score, and whatever else the model's losses look at."""

    users: Tensor
    items: Tensor
    views: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class ServedTerm:
    """One addend of an item's vector: its own vectors (I, D) and how much of them counts (I,)."""

    term: Term
    vectors: F32
    gate: F32


@dataclass(frozen=True)
class Tables:
    """What is served: users (U, D), items (I, D).

    Either `parts` says which share of an item's vector (I, D) comes from a content modality, the rest being
    behaviour's, and the snapshot is of the kind `plain`; or `terms` are experts with gates that sum to the item's
    vector, and it is of the kind `item`. `decays` are the values of ρ to try for the linear form of a user.
    """

    users: F32
    items: F32
    parts: Mapping[str, F32] = field(default_factory=dict)
    terms: tuple[ServedTerm, ...] = ()
    decays: tuple[float, ...] = (1.0,)


def side_by_side(members: Sequence[Tables]) -> Tables:
    """Vectors one after the other, scaled so that inner products are the mean of the members'.

    A term's gate is the mean of its members' gates; its vectors make up for the difference.
    """
    first, scale = members[0], np.float32(len(members) ** -0.5)
    if len(members) == 1:
        return first

    def joined(tables: Iterable[F32]) -> F32:
        return np.concatenate([table * scale for table in tables], axis=1)

    terms = []
    for place, served in enumerate(first.terms):
        own = [member.terms[place] for member in members]
        gate = np.mean([one.gate for one in own], axis=0)
        share = [one.gate / np.maximum(gate, np.float32(1e-12)) for one in own]
        vectors = joined(one.vectors * part[:, None] for one, part in zip(own, share, strict=True))
        terms.append(ServedTerm(served.term, vectors, gate))
    return Tables(
        joined(member.users for member in members),
        joined(member.items for member in members),
        {name: joined(member.parts[name] for member in members) for name in first.parts},
        tuple(terms),
        first.decays,
    )


class EmbeddingNetwork(nn.Module, ABC):
    """Parameters and graphs of one model over one training set."""

    @abstractmethod
    def forward(self) -> Vectors:
        """All vectors; dropout and pruned graphs only while `self.training`."""

    def begin_epoch(self, epoch: int, rng: np.random.Generator) -> None:
        """Draw what holds for one epoch; a function of the seed and the epoch, so that a resumed run is the same."""

    def losses(self, batch: Triples, epochs: float) -> dict[str, Tensor]:
        """The parts of the loss; `epochs` is how many passes are behind. BPR alone, unless a model says more."""
        vectors = self()
        return {"bpr": bpr_of(vectors, batch)}

    @abstractmethod
    def tables(self) -> Tables:
        """What is served, in float32 on the CPU."""


def bpr_of(vectors: Vectors, batch: Triples) -> Tensor:
    """BPR over a batch's vectors."""
    return bpr_loss(vectors.users[batch.users], vectors.items[batch.positives], vectors.items[batch.negatives])


def collaborative_term(vectors: F32) -> ServedTerm:
    """The base term of an item's behaviour vectors (I, D)."""
    term = Term(name="collaborative", role="base", modalities={BEHAVIOUR: 1.0})
    return ServedTerm(term, vectors, np.ones(len(vectors), np.float32))


def modality_term(name: str, vectors: F32, gate: F32) -> ServedTerm:
    """The gated term that reads one modality alone."""
    return ServedTerm(Term(name=name, role="modality", modalities={name: 1.0}), vectors, gate)


def as_array(tensor: Tensor) -> F32:
    """A tensor for a snapshot."""
    array: F32 = tensor.detach().float().cpu().numpy()
    return array


def xavier_table(rows: int, width: int) -> nn.Parameter:
    """A free table, Xavier-uniform."""
    return nn.Parameter(nn.init.xavier_uniform_(nn.Embedding(rows, width).weight.data))
