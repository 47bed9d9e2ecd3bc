"""What callers send: events, items, and questions that do not fit into a link."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from pydantic import (
    Base64Bytes,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    FiniteFloat,
    model_validator,
)

from model_store.events import Event, Id
from service.schemas.answers import Answer, Document
from service.schemas.queries import RankingQuery

MAX_EVENTS = 1000
MAX_USERS = 100
MAX_SESSION = 1000
MAX_MODALITIES = 16
MAX_WIDTH = 2**16
"""Of a raw feature vector: many times what encoders make, and little enough to be read in milliseconds."""
NAMED_UNKNOWN = 20


def few_unknown(model: type[BaseModel], given: object) -> object:
    """Some unknown fields are named one by one; very many are one error, for every error takes time and memory."""
    known = model.model_fields
    if isinstance(given, dict) and len(given) > len(known) + NAMED_UNKNOWN:
        raise ValueError(f"expected no fields but {', '.join(known)}, found {len(given)} fields")
    return given


def _few_modalities(given: object) -> object:
    """Else each of very many may be an error."""
    if isinstance(given, dict) and len(given) > MAX_MODALITIES:
        raise ValueError(f"expected at most {MAX_MODALITIES} modalities, found {len(given)}")
    return given


class Body(BaseModel):
    """Base of every body. However much is wrong with one, little is noted: lists are read up to their first error."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _few_unknown(cls, given: Any) -> Any:
        return few_unknown(cls, given)


class Events(Body):
    """Feedback. The whole list is kept or none of it."""

    events: Annotated[
        list[Annotated[Event, BeforeValidator(partial(few_unknown, Event))]],
        FailFast(),
        Field(
            min_length=1,
            max_length=MAX_EVENTS,
            examples=[
                [
                    {
                        "event_id": "7d1f0c52",
                        "user": "user-1",
                        "item": "item-7",
                        "type": "click",
                        "timestamp": 1790000000.0,
                    }
                ]
            ],
        ),
    ]
    """What happened, in any order."""


class EventsKept(Document):
    """The events are durable."""

    accepted: int
    """How many were new."""
    duplicates: int
    """How many had an `event_id` that was known already; they changed nothing."""


class ManyUsers(Body, RankingQuery):
    """A question for several users at once."""

    users: Annotated[
        tuple[Id, ...], FailFast(), Field(min_length=1, max_length=MAX_USERS, examples=[["user-1", "user-2"]])
    ]
    """Whom to recommend to."""


class Answers(Document):
    """One answer per user, in the order of the question."""

    snapshot: str
    """The one snapshot that answered."""
    answers: list[Answer]
    """The answers."""


class Session(Body, RankingQuery):
    """A question by somebody without a name."""

    items: Annotated[tuple[Id, ...], FailFast(), Field(max_length=MAX_SESSION, examples=[["item-7", "item-3"]])]
    """Items looked at, most recent last. Unknown ones are ignored; without any known one, popular items come."""


class PutItem(Body):
    """An item, new or changed. Everything is optional; what is left out is empty."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"title": "A red lamp", "categories": ["Lamps"], "description": "It shines. It is red."}]
        },
    )

    title: Annotated[str | None, Field(max_length=1000)] = None
    """Its title."""
    categories: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=200)]], FailFast(), Field(max_length=50)
    ] = Field(default_factory=list)
    """Its categories."""
    description: Annotated[str | None, Field(max_length=20_000)] = None
    """Its description."""
    image: Base64Bytes | None = None
    """Its picture, base64; any format that Pillow decodes."""
    features: Annotated[
        dict[str, Annotated[list[FiniteFloat], FailFast(), Field(max_length=MAX_WIDTH)]],
        BeforeValidator(_few_modalities),
        Field(max_length=MAX_MODALITIES),
    ] = Field(default_factory=dict)
    """Raw feature vectors by modality, instead of those that encoders would make from text and picture."""


class PutDone(Document):
    """The item is kept, durably."""

    item: str
    """The item."""
    snapshot: str
    """The snapshot it was made known to."""
    recommendable: bool
    """Whether answers can hold it: false for a new item that resembles nothing the model knows, where the model has no
    encoder of items."""
    modalities: dict[str, bool]
    """Which modalities it is scored by."""
    inferred: list[str]
    """Which of them are inferred from its neighbours."""


class Activation(Body):
    """Which snapshot to serve."""

    snapshot: Annotated[str, Field(min_length=1, max_length=128)]
    """The id of a snapshot in the store."""


class Activated(Document):
    """What is served from now on."""

    snapshot: str
    """The snapshot of this worker; the others follow within a second or so."""
    previous: str | None
    """The snapshot before."""


class Hidden(Document):
    """The item is hidden, durably."""

    item: str
    """The item."""
    hidden: bool
    """True."""


class Forgotten(Document):
    """The user is forgotten."""

    user: str
    """The user."""
    forgotten: bool
    """True: events and kept answers are gone; what the snapshot knows is no longer used, nor trained on again."""
