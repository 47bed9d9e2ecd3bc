"""Ids in paths: any UTF-8, percent-encoded, slashes and line ends included."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from pydantic import AfterValidator
from starlette.convertors import Convertor, register_url_convertor

from model_store.events import ID_LENGTH, check_id


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

_RULE = "any UTF-8 of 1 to 512 bytes, percent-encoded."
UserId = Annotated[
    str,
    AfterValidator(check_id),
    Path(description=f"A user: {_RULE}", examples=["user-1"], json_schema_extra=dict(ID_LENGTH)),
]
ItemId = Annotated[
    str,
    AfterValidator(check_id),
    Path(description=f"An item: {_RULE}", examples=["item-7"], json_schema_extra=dict(ID_LENGTH)),
]
