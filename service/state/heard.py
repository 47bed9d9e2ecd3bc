"""Of whom a state store may hold something, in fixed memory: of everybody else it need not be asked."""

from __future__ import annotations

from collections.abc import Iterable

_BYTES = 2**20


class Heard:
    """A set that never misses a name it was given, and may take another name for one of them (a Bloom filter).

    One bit a name: with a million names one in nine others is taken for one of them.
    """

    def __init__(self) -> None:
        self._bits = bytearray(_BYTES)

    def __contains__(self, name: str) -> bool:
        place = hash(name)
        return bool(self._bits[(place >> 3) % _BYTES] >> (place & 7) & 1)

    def update(self, names: Iterable[str]) -> None:
        """Take in these names."""
        for name in names:
            place = hash(name)
            self._bits[(place >> 3) % _BYTES] |= 1 << (place & 7)
