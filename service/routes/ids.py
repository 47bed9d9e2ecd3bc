"""Ids in paths: any UTF-8, percent-encoded, slashes and line ends included."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from starlette.convertors import Convertor, register_url_convertor

from service.schemas.queries import MAX_ID_LENGTH


class IdConvertor(Convertor[str]):
    """Starlette's own `path` stops at a line end."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        """As it is."""
        return value

    def to_string(self, value: str) -> str:
        """As it is."""
        return value


register_url_convertor("id", IdConvertor())

_LENGTH = {"min_length": 1, "max_length": MAX_ID_LENGTH}
UserId = Annotated[str, Path(description="A user: any UTF-8, percent-encoded.", examples=["user-1"], **_LENGTH)]
ItemId = Annotated[str, Path(description="An item: any UTF-8, percent-encoded.", examples=["item-7"], **_LENGTH)]
