"""What the service answers: ranked items and their explanations."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from model_store.manifest import Role

Strategy = Literal["personalised", "folded-in", "session", "popular"]


class Document(BaseModel):
    """Base of every response."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class Problem(Document):
    """An error, as RFC 9457 describes it (`application/problem+json`)."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    type: Annotated[str, Field(examples=["urn:problem-type:magnet:unknown-item"])]
    """A stable name of the kind of problem."""
    title: str
    """The kind of problem in words."""
    status: int
    """The HTTP status."""
    detail: str
    """What was expected, what was found, and where."""
    request_id: str | None = None
    """The `X-Request-Id` of the failed request."""


class ScoreTerm(Document):
    """One term of a score."""

    name: Annotated[str, Field(examples=["dominant-visual"])]
    """The expert or base term."""
    role: Role
    """What part the term plays."""
    modalities: Annotated[dict[str, float], Field(examples=[{"behaviour": 0.15, "visual": 0.7, "textual": 0.15}])]
    """The shares of the modalities in the term."""
    weight: Annotated[float | None, Field(examples=[0.61])]
    """The router's weight for this pair; null for base terms. Routed weights sum to 1."""
    contribution: Annotated[float, Field(examples=[2.02])]
    """What the term adds to the score, rounded to 6 decimals."""


class HistoryShare(Document):
    """What one item of the history carried of a score."""

    item: str
    """The item of the history."""
    title: str | None
    """Its title."""
    amount: float
    """Its share in the score, in score units: `exact` plus `attributed`."""
    exact: float
    """The part in which the score is linear in the history."""
    attributed: float
    """The rest, spread by the item's share in the user's vector: an attribution, not a fact."""


class RecommendedItem(Document):
    """One ranked item."""

    item: Annotated[str, Field(examples=["item-7"])]
    """The item's id."""
    rank: Annotated[int, Field(ge=1)]
    """The place in the whole ranking, from 1."""
    score: Annotated[float, Field(examples=[3.91])]
    """The sum of the contributions."""
    title: str | None
    """The item's title, where known."""
    image: str | None
    """The hash of the item's picture for `/media/{hash}`, where there is one."""
    inferred: list[str] | None = None
    """For an item added since the snapshot: the modalities whose evidence is inferred from its neighbours."""
    experts: list[ScoreTerm] | None = None
    """Every non-zero term of the score; absent with `explain=none`."""
    modality_amounts: dict[str, float] | None = None
    """The score split over the modalities, signed, in score units; only with `explain=full`."""
    because: list[HistoryShare] | None = None
    """The items of the history that carried the most of the (unsteered) score; only with `explain=full`."""


class Shortfall(Document):
    """Why fewer items came than were asked for."""

    requested: int
    """How many were asked for."""
    returned: int
    """How many there are."""
    because: str
    """What left the others out."""


class Answer(Document):
    """A ranked answer. Every value in it comes from one snapshot."""

    user: Annotated[str | None, Field(examples=["user-1"])]
    """Who asked; null for a session."""
    snapshot: str
    """The snapshot that answered."""
    recommendation_id: str
    """The name under which `/explain` finds these values for a while."""
    strategy: Strategy
    """How the answer came about."""
    events_used: int
    """How many events newer than the snapshot's history shaped the answer."""
    exploration: float | None = None
    """In a popular answer: the share of places given to items beyond the most popular."""
    complete: bool
    """Whether as many items came as were asked for."""
    degraded: list[str]
    """What was unavailable while answering; empty in good health."""
    items: list[RecommendedItem]
    """The items, best first."""
    shortfall: Shortfall | None = None
    """Present when `complete` is false."""
    next: str | None = None
    """The next page, from the same snapshot and state."""


class Explanation(Document):
    """One pair in full."""

    user: str | None
    """Who it was scored for; null for a session."""
    item: str
    """The item."""
    snapshot: str
    """The snapshot that scored it."""
    recommendation_id: str | None = None
    """The answer these values come from; null when they were recomputed."""
    strategy: Strategy
    """How the answer came about."""
    score: float
    """The sum of the contributions."""
    title: str | None
    """The item's title."""
    image: str | None
    """The hash of its picture."""
    inferred: list[str] | None = None
    """For an item added since the snapshot: the modalities whose evidence is inferred from its neighbours."""
    experts: list[ScoreTerm]
    """Every non-zero term of the score."""
    modality_amounts: dict[str, float]
    """The score split over the modalities, signed, in score units."""
    because: list[HistoryShare] | None
    """The items of the history that carried the most of the (unsteered) score; null for a kept answer whose snapshot,
    or whose added item, is neither in memory nor in the store any more."""
    faithfulness: dict[str, Any]
    """How well such explanations were measured to agree with perturbing the model, from the snapshot's manifest."""


class ExpertUse(Document):
    """How much one term counts for a user."""

    name: str
    """The expert or base term."""
    role: Role
    """What part it plays."""
    modalities: dict[str, float]
    """The shares of the modalities in it."""
    mean_weight: float | None
    """The router's mean weight over the user's best items; null for base terms."""
    share: float
    """Its share in the absolute contributions over the user's best items."""


class Profile(Document):
    """A user's expert profile."""

    user: str
    """The user."""
    snapshot: str
    """The snapshot that was asked."""
    strategy: Strategy
    """How the user is answered."""
    history_length: int
    """How many items of history shape the answers."""
    items_considered: int
    """Over how many of the user's best items the profile is taken."""
    experts: list[ExpertUse]
    """The terms, in the model's order."""
    modality_shares: dict[str, float]
    """The modalities' shares in the absolute amounts over the same items."""
