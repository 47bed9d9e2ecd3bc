"""Damage to files: what a bad disk, a bad transfer or somebody with bad intentions makes of their bytes."""

from __future__ import annotations

import random

EXTREMES = (b"\x00", b"\xff", b"\x7f", b"\x80", b"\xff\xff\xff\x7f", b"\xff" * 8, b"\x00" * 8)


def mutated(content: bytes, chance: random.Random) -> bytes:
    """`content` with one to four changes: bits turned, bytes replaced, pieces cut, doubled, or swapped in."""
    damaged = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        if not damaged:
            break
        place = chance.randrange(len(damaged))
        end = min(place + chance.randint(1, 64), len(damaged))
        match chance.randrange(6):
            case 0:
                damaged[place] ^= 1 << chance.randrange(8)
            case 1:
                damaged[place] = chance.randrange(256)
            case 2:
                extreme = chance.choice(EXTREMES)
                damaged[place : place + len(extreme)] = extreme
            case 3:
                del damaged[place:end]
            case 4:
                damaged[place:place] = damaged[place:end]
            case _:
                del damaged[place:]
    return bytes(damaged)
