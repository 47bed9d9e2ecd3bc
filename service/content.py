"""What was put for an item: texts and picture for people, raw features for models. Kept as JSON in the state."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import orjson
from numpy.typing import NDArray

from model_store.items import ItemInfo

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class ItemContent:
    """One item as it was put. `features` are raw: what a snapshot does to them before scoring is its own affair."""

    title: str | None
    categories: tuple[str, ...]
    description: str | None
    image: str | None
    """Hash of the picture in the store's media."""
    features: Mapping[str, F32]
    """(d,) per modality."""

    def info(self, item_id: str) -> ItemInfo:
        """The part for people."""
        return ItemInfo(item_id, self.title, self.categories, self.description, self.image)

    def features_for(self, widths: Mapping[str, int | None]) -> dict[str, F32]:
        """The features that a model of these modalities can read; others, or those of another width, are left out."""
        return {name: values for name, values in self.features.items() if widths.get(name) == len(values)}

    def write(self) -> bytes:
        """As JSON."""
        features = {name: base64.b64encode(values.tobytes()).decode() for name, values in self.features.items()}
        return orjson.dumps(vars(self) | {"features": features})

    @classmethod
    def read(cls, written: bytes) -> ItemContent:
        """What `write` wrote."""
        fields = orjson.loads(written)
        features = {
            name: np.frombuffer(base64.b64decode(values), np.float32) for name, values in fields["features"].items()
        }
        return cls(fields["title"], tuple(fields["categories"]), fields["description"], fields["image"], features)
