"""Do experts live up to their roles? Taking a modality away should move those led by it more than the others.

Axes: `P` pairs, `E` experts, `M` modalities.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from model_store.manifest import Term

LED = 0.5
"""An expert is led by the modality that makes up more than this share of it."""


def role_check(experts: Sequence[Term], modality: str, moved: NDArray[np.float64]) -> dict[str, JsonValue]:
    """How far masking `modality` moved the experts led by it and the others, in score units.

    Args:
        experts: the routed terms.
        modality: what was masked.
        moved: (P, E) absolute changes of the experts' opinions.

    Returns:
        `led` and `others`, means over experts and pairs (None where there are none); `holds`, whether every led expert
        moved more than the others do on average; `experts`, each one's mean.

    """
    each = moved.mean(axis=0) if len(moved) else np.zeros(len(experts))
    led = np.array([(expert.modalities.get(modality) or 0.0) > LED for expert in experts], dtype=np.bool_)
    split = bool(led.any() and not led.all() and len(moved))
    others = float(each[~led].mean()) if split else None
    return {
        "led": round(float(each[led].mean()), 6) if split else None,
        "others": round(others, 6) if others is not None else None,
        "holds": bool((each[led] > others).all()) if others is not None else None,
        "experts": {expert.name: round(float(value), 6) for expert, value in zip(experts, each, strict=True)},
    }
