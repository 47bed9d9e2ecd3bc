"""What a text encoder reads of an item: the one rule for `magnet-train features` and for new items in the service."""

from __future__ import annotations

from collections.abc import Sequence


def item_text(title: str | None, categories: Sequence[str], description: str | None) -> str | None:
    """Title, categories and description as sentences, None if there is nothing but blanks.

    The description comes last because it is the longest: encoders cut at the end.
    """
    parts = [part.strip() for part in (title or "", ", ".join(categories), description or "")]
    sentences = [part if part[-1] in ".!?…" else f"{part}." for part in parts if part]
    return " ".join(sentences) or None
