"""Feedback: the one format in which the service keeps it and the trainer reads it back (JSON lines).

What counts: `view`, `click` and `purchase` extend the user's history, and so does a `rating` of at least
`POSITIVE_RATING`. A lower `rating`, `dislike` and `hide` never do: they say what not to recommend to that user.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from model_store.errors import InvalidEvent
from model_store.files import replacing, storage_errors
from model_store.ids import MAX_ID_BYTES, encode_id

EventType = Literal["view", "click", "purchase", "rating", "dislike", "hide"]
HISTORY_TYPES: frozenset[EventType] = frozenset({"view", "click", "purchase"})
"""Types that always extend the history."""
NEGATIVE_TYPES: frozenset[EventType] = frozenset({"dislike", "hide"})
"""Types that never do, and that keep the item from being recommended to that user again."""
POSITIVE_RATING = 3.5
"""A rating of at least this extends the history; on scales other than one to five, rescale before sending."""

MAX_LINE_BYTES = 16_384
LATEST = 253_402_300_799.0
"""The end of the year 9999 in Unix seconds: a time in milliseconds lies beyond it."""


def check_id(text: str) -> str:
    """The id itself. Raises `ValueError` unless it is 1 to 512 bytes of valid UTF-8."""
    encode_id(text)
    return text


ID_LENGTH = {"minLength": 1, "maxLength": MAX_ID_BYTES}
"""What JSON Schema can say of an id: it counts characters."""
Id = Annotated[str, AfterValidator(check_id), Field(json_schema_extra=dict(ID_LENGTH))]
"""An id of the outside world: 1 to 512 bytes of valid UTF-8, slashes included."""


class Event(BaseModel):
    """One thing that a user did with an item."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    event_id: str = Field(min_length=1, max_length=128)
    """Chosen by the sender; the same id again is the same event and changes nothing."""
    user: Id
    """Id of the user, known or new."""
    item: Id
    """Id of the item."""
    type: EventType
    """What happened."""
    value: float | None = None
    """The rating given, for `rating`; otherwise optional and without effect."""
    timestamp: float = Field(ge=0, le=LATEST)
    """When, in Unix seconds (not milliseconds)."""
    recommendation_id: str | None = Field(default=None, min_length=1, max_length=128)
    """The answer that showed the item, if one did."""

    @model_validator(mode="after")
    def _rating_has_a_value(self) -> Event:
        if self.type == "rating" and self.value is None:
            raise ValueError("expected a value with type 'rating', found none")
        return self

    @property
    def is_positive(self) -> bool:
        """Whether the item joins the user's history."""
        rated_well = self.type == "rating" and self.value is not None and self.value >= POSITIVE_RATING
        return self.type in HISTORY_TYPES or rated_well

    @property
    def is_negative(self) -> bool:
        """Whether the user does not want this item: `dislike`, `hide`, or a rating below `POSITIVE_RATING`."""
        return not self.is_positive


class Forgotten(BaseModel):
    """A user was forgotten: whatever was known of them before this line, by whatever source, is void."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    forgotten: Id
    """Id of the user."""


Feedback = Event | Forgotten


def read_events(path: Path) -> Iterator[Feedback]:
    """Events and tombstones of a JSON-lines file, in file order, one line in memory at a time.

    Raises InvalidEvent naming file and line, StoreUnusable if the file cannot be read.
    """
    with storage_errors(f"reading {path}"), path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise InvalidEvent(f"{path}, line {number}: expected at most {MAX_LINE_BYTES} bytes, found more")
            yield _parse(line, f"{path}, line {number}")


def write_events(path: Path, events: Iterable[Feedback]) -> None:
    """Write a JSON-lines file, whole or not at all; raises StoreFull, StoreUnusable."""
    with storage_errors(f"writing {path}"), replacing(path) as file:
        file.writelines(event.model_dump_json(exclude_none=True).encode() + b"\n" for event in events)


def _parse(line: bytes, where: str) -> Feedback:
    try:
        return Event.model_validate_json(line)
    except ValidationError as error:
        with suppress(ValidationError):
            return Forgotten.model_validate_json(line)
        first = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "the line"
        found = repr(first["input"] if first["loc"] else line)[:100]
        raise InvalidEvent(f"{where}: {field}: {first['msg']}, found {found}") from error
