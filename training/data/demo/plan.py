"""The settings of the demo catalogue's generator and its streams of randomness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

GENERATOR_VERSION = 1
"""Goes up with every change that alters what a seed gives: figures on the catalogue compare within one version only."""

STREAMS = ("attributes", "popularity", "users", "choices", "times", "pictures", "texts", "gaps")


@dataclass(frozen=True)
class DemoPlan:
    """Everything the catalogue follows from."""

    seed: int
    n_items: int = 1_200
    n_users: int = 2_000
    communities: int = 8
    strength: float = 1.4
    """Factor of affinity in a choice's log-weight."""
    noise: float = 0.06
    """Share of choices made by popularity alone."""
    looks_share: float = 0.27
    description_share: float = 0.26
    crowd_share: float = 0.22
    """What the three shares leave are mixtures."""
    choices_median: float = 22.0
    choices_spread: float = 0.45
    """Standard deviation of the logarithm of a user's number of choices."""
    fewest_choices: int = 8
    most_choices: int = 60
    zipf_exponent: float = 0.9
    zipf_offset: float = 12.0
    """Popularity of the item of rank r is (r + offset) to the power of minus the exponent."""
    without_picture: float = 0.025
    without_text: float = 0.025

    def generator(self, stream: str) -> np.random.Generator:
        """Return the generator of one stream, so that drawing more from one never shifts another."""
        return np.random.default_rng([self.seed, STREAMS.index(stream)])
