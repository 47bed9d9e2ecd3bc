"""What items are and what users like: attributes, tastes and the affinity between them.

Axes: I items, T tastes of one kind, G communities.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.data.demo.plan import DemoPlan

HUES = ("red", "amber", "lime", "green", "teal", "blue", "violet", "magenta")
PATTERNS = ("horizontal", "rising", "vertical", "falling", "dots", "plain")
USES = ("camping", "travel", "office", "reading", "children", "cooking", "hosting", "gardening")
MATERIALS = ("wood", "wool", "leather", "stoneware", "steel", "linen")
MOODS = ("calm", "playful", "adventurous", "nostalgic", "elegant")
NEIGHBOUR_AFFINITY = 0.4
"""What a hue or use next to the favourite on the ring is liked, the favourite itself being 1 and all others 0."""


@dataclass(frozen=True)
class ItemAttributes:
    """The planted attributes, each (I,) but the last; all drawn independently of each other."""

    hue: NDArray[np.int64]
    pattern: NDArray[np.int64]
    use: NDArray[np.int64]
    material: NDArray[np.int64]
    mood: NDArray[np.int64]
    popularity: NDArray[np.float64]
    """Exposure, sums to 1."""
    standing: NDArray[np.float64]
    """(G, I) how much each community likes each item, standard normal."""


def draw_attributes(plan: DemoPlan) -> ItemAttributes:
    """Draw the attributes of all items."""
    generator = plan.generator("attributes")
    hue, pattern, use, material, mood = (
        generator.integers(len(values), size=plan.n_items) for values in (HUES, PATTERNS, USES, MATERIALS, MOODS)
    )
    standing = generator.standard_normal((plan.communities, plan.n_items))
    rank = plan.generator("popularity").permutation(plan.n_items)
    popularity = (rank + plan.zipf_offset) ** -plan.zipf_exponent
    return ItemAttributes(hue, pattern, use, material, mood, popularity / popularity.sum(), standing)


def looks_affinity(items: ItemAttributes) -> NDArray[np.float64]:
    """Return (T, I) affinities of every taste hue · 6 + pattern."""
    return _two_factor_affinity(items.hue, len(HUES), items.pattern, len(PATTERNS))


def description_affinity(items: ItemAttributes) -> NDArray[np.float64]:
    """Return (T, I) affinities of every taste use · 6 + material."""
    return _two_factor_affinity(items.use, len(USES), items.material, len(MATERIALS))


def _two_factor_affinity(
    ring_value: NDArray[np.int64], ring_size: int, value: NDArray[np.int64], size: int
) -> NDArray[np.float64]:
    """Ring likeness plus equality, brought to mean 0 and variance 1 under uniform independent attributes."""
    ring = np.eye(ring_size)
    ring += NEIGHBOUR_AFFINITY * (np.roll(ring, 1, axis=1) + np.roll(ring, -1, axis=1))
    same = np.eye(size)
    mean = ring[0].mean() + same[0].mean()
    deviation = np.sqrt(ring[0].var() + same[0].var())
    raw = ring[:, None, ring_value] + same[None, :, value]
    affinity: NDArray[np.float64] = (raw.reshape(ring_size * size, -1) - mean) / deviation
    return affinity
