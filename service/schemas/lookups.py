"""What the look-ups answer: the model, its experts, items, users and the service's health."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from model_store.manifest import Role
from service.schemas.answers import Document


class Expert(Document):
    """One term of the model."""

    name: str
    """Its name."""
    role: Role
    """What part it plays."""
    modalities: dict[str, float]
    """The shares of the modalities in it."""
    use: Annotated[dict[str, float], Field(examples=[{"share_of_pairs": 0.41, "mean_weight": 0.2}])]
    """How much it was measured to be used at export: its entries in `routing`."""


class Experts(Document):
    """The model's terms."""

    snapshot: str
    """The snapshot they belong to."""
    model: str
    """The model's name."""
    top_k: int | None
    """How many experts count for one pair."""
    routed_variance_share: float | None
    """The measured share of the score's variance within a user's candidates that the routed experts carry."""
    experts: list[Expert]
    """The terms, in the model's order."""
    routing: dict[str, Any]
    """The routing's measurements at export."""
    explanation: dict[str, Any]
    """How well explanations were measured to hold: amounts against the model run again without a modality, roles
    checked, planted drivers recovered; empty where nothing was measured."""
    candidates: dict[str, Any]
    """From how many candidates answers are drawn, steered ones too, and how much of the exact top 20 is in them."""


class ItemInfo(Document):
    """What is known of an item."""

    item: str
    """The item's id."""
    title: str | None
    """Its title."""
    categories: list[str]
    """Its categories."""
    description: str | None = None
    """Its description."""
    image: str | None
    """The hash of its picture for `/media/{hash}`."""


class ItemDetails(ItemInfo):
    """An item with what the model knows of it."""

    snapshot: str
    """The snapshot that was asked."""
    popularity: float
    """The popularity the snapshot holds."""
    interactions: int
    """How many interactions the model was trained on for it."""
    modalities: dict[str, bool]
    """Which modalities the item has."""


class Items(Document):
    """Items that match a search."""

    items: list[ItemInfo]
    """The matches, in the catalogue's order."""


class SimilarItem(Document):
    """One neighbour."""

    item: str
    """The neighbour's id."""
    rank: int
    """Its place, from 1."""
    similarity: float
    """How alike the two are, as a cosine."""
    title: str | None
    """Its title."""
    image: str | None
    """The hash of its picture."""


class Similar(Document):
    """An item's neighbours."""

    item: str
    """The item."""
    snapshot: str
    """The snapshot that was asked."""
    by: str
    """What was compared."""
    complete: bool
    """Whether as many came as were asked for."""
    items: list[SimilarItem]
    """The neighbours, most alike first."""


class UserDetails(Document):
    """A user's history."""

    user: str
    """The user's id."""
    snapshot: str
    """The snapshot that was asked."""
    known_to_snapshot: bool
    """Whether the model was trained with this user."""
    history: list[ItemInfo]
    """The history that shapes the answers, most recent first."""


class Users(Document):
    """Users that match a search."""

    users: list[str]
    """The matches, in the snapshot's order."""


class SnapshotDetails(Document):
    """What is served."""

    snapshot: str
    """The snapshot's id."""
    model: str
    """The model's name."""
    dataset: str
    """The data it was trained on."""
    created_at: str
    """When it was exported."""
    loaded_at: str
    """When this worker began to serve it."""
    n_users: int
    """Users it knows."""
    n_items: int
    """Items it knows."""
    index: str
    """What retrieves candidates."""
    documents: list[str]
    """What it came with, for `/snapshot/{document}`."""
    manifest: dict[str, Any]
    """The manifest, whole, except its lists of files and arrays."""


class Health(Document):
    """The state of one worker."""

    status: str
    """`alive`, `ready`, or `degraded`: ready, with something amiss."""
    snapshot: str | None = None
    """The snapshot that is served."""
    index: str | None = None
    """What retrieves candidates."""
    onnx: Annotated[dict[str, str], Field(examples=[{"user_encoder": "CPUExecutionProvider"}])] = Field(
        default_factory=dict
    )
    """The ONNX Runtime provider of every graph that the snapshot has: `user_encoder` for histories that the model has
    not seen, `item_encoder` for new items."""
    degraded: list[str] = Field(default_factory=list)
    """What does not work as it should."""
