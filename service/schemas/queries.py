"""What callers may ask: query parameters as frozen models, so that a parsed query can be cached and compared."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlencode

from pydantic import AfterValidator, BaseModel, ConfigDict, FailFast, Field, model_validator

from model_store.events import Id

MAX_DEPTH = 1000
STEER_LIMIT = 4.0

Explain = Literal["none", "experts", "full"]


def parse_steer(text: str) -> tuple[str, float]:
    """`name:factor` as a pair. Raises `ValueError` that says what was expected."""
    name, separator, factor_text = text.rpartition(":")
    try:
        factor = float(factor_text)
    except ValueError:
        factor = math.nan
    if not separator or not name or not 0 <= factor <= STEER_LIMIT:
        raise ValueError(f"expected name:factor with a factor from 0 to {STEER_LIMIT:g}, found {text!r}")
    return name, factor


def _plain(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def _steerable(text: str) -> str:
    parse_steer(text)
    return text


STEER_PATTERN = rf"^[\s\S]+:([0-{STEER_LIMIT - 1:g}](\.[0-9]+)?|{STEER_LIMIT:g}(\.0+)?)$"
"""What is documented; other ways to write such a factor are understood, too."""
Steer = Annotated[
    str,
    Field(min_length=3, max_length=100, json_schema_extra={"pattern": STEER_PATTERN}),
    AfterValidator(_steerable),
]


class Query(BaseModel):
    """Base of every set of query parameters: a misspelt parameter is an error, never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class RankingQuery(Query):
    """The parameters that every ranked answer understands."""

    k: Annotated[int, Field(ge=1, le=500, examples=[20])] = 20
    """How many items to return."""

    offset: Annotated[int, Field(ge=0, lt=MAX_DEPTH)] = 0
    """How many ranks to skip; `offset + k` is at most 1000."""

    category: Annotated[tuple[str, ...], FailFast(), Field(max_length=50, examples=[["Toys"]])] = ()
    """Only items of at least one of these categories. Repeatable."""

    exclude: Annotated[tuple[str, ...], FailFast(), Field(max_length=1000)] = ()
    """Item ids that must not appear. Repeatable; unknown ids are ignored."""

    exclude_seen: bool = True
    """Leave out what the user has already interacted with."""

    diversity: Annotated[float, Field(ge=0, le=1)] = 0.0
    """0 orders by score; towards 1, items like those already ranked move down. Scores stay what they are."""

    steer: Annotated[tuple[Steer, ...], FailFast(), Field(max_length=20, examples=[["visual:1.5"]])] = ()
    """`name:factor` with a modality or expert name and a factor from 0 to 4. Repeatable."""

    explain: Explain = "experts"
    """`none` leaves the terms out, `experts` lists them, `full` adds modality amounts and the history behind it."""

    @model_validator(mode="after")
    def _depth(self) -> RankingQuery:
        if self.offset + self.k > MAX_DEPTH:
            raise ValueError(f"offset + k is {self.offset + self.k}, expected at most {MAX_DEPTH}")
        names = [parse_steer(entry)[0] for entry in self.steer]
        if len(set(names)) < len(names):
            raise ValueError("steer names something twice")
        return self

    @cached_property
    def following(self) -> str:
        """The query string of the page after this one, without the pin; kept with the wish, for as long as that is."""
        offset = self.offset + self.k
        asked = self.model_dump(include=set(RankingQuery.model_fields), exclude_defaults=True, mode="json")
        pairs = asked | {"offset": offset, "k": min(self.k, MAX_DEPTH - offset)}
        return urlencode({name: _plain(value) for name, value in pairs.items()}, doseq=True, quote_via=quote)


class RecommendQuery(RankingQuery):
    """Parameters of `GET /recommend/{user_id}`."""

    at: Annotated[str | None, Field(max_length=200)] = None
    """Snapshot and state to answer from, as found in `next`; leave it out for the newest."""


class ExplainQuery(Query):
    """Parameters of `GET /explain`: a pair by user and item, or by answer and item."""

    item: Annotated[Id, Field(examples=["item-7"])]
    """The item to explain."""

    user: Annotated[Id | None, Field(examples=["user-1"])] = None
    """Recompute the pair for this user, from the newest state."""

    recommendation_id: Annotated[str | None, Field(max_length=100)] = None
    """Return the very values of this answer."""

    @model_validator(mode="after")
    def _one_of(self) -> ExplainQuery:
        if (self.user is None) == (self.recommendation_id is None):
            raise ValueError("give either user or recommendation_id, with item")
        return self


class SimilarQuery(Query):
    """Parameters of `GET /similar/{item_id}`."""

    by: Annotated[str, Field(max_length=100, examples=["visual"])] = "overall"
    """`overall`, or one of the model's modalities (`behaviour`, `visual`, `textual`, …)."""

    k: Annotated[int, Field(ge=1, le=500)] = 20
    """How many items to return."""


class SearchQuery(Query):
    """Parameters of the searches."""

    query: Annotated[str, Field(max_length=200)] = ""
    """Part of an id or title, letter case ignored; empty lists the first entries."""

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    """How many matches to return."""
