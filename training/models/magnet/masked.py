"""The base run again with a content modality of some items taken away: what explanations are held against.

Axes: `I` items.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from training.data.features import FeatureMatrix
from training.graph.content import NeighbourLists, graph_of, neighbour_lists
from training.models.magnet.config import GraphConfig
from training.models.magnet.dual_view import DualViewBase, Graphs
from training.models.magnet.tensor_names import tensor_name

SPARE = 16
"""Neighbours kept beyond k: so many of an item's neighbours may be masked before its list runs short."""


@dataclass(frozen=True)
class Masking:
    """Which items lose which modality; `content` are the graphs without them, None where graphs stay as they are."""

    item_rows: NDArray[np.int64]
    modality: str
    content: Mapping[str, sparse.csr_array] | None


class ContentGraphs:
    """The content graphs of a catalogue, and what they are without some items; features stay centred as they were."""

    def __init__(self, features: Mapping[str, FeatureMatrix], config: GraphConfig) -> None:
        self.config = config
        self._lists = {
            name: neighbour_lists(matrix.values, matrix.present, k=config.neighbours + SPARE)
            for name, matrix in features.items()
        }

    def without(self, item_rows: NDArray[np.int64], modality: str) -> dict[str, sparse.csr_array]:
        """Every modality's graph; in `modality` the items neither have neighbours nor are one."""
        return {
            name: graph_of(
                _shortened(lists, item_rows if name == modality else item_rows[:0], self.config.neighbours),
                hub_cap=self.config.hub_cap,
            )
            for name, lists in self._lists.items()
        }


def without(module: DualViewBase, masking: Masking) -> DualViewBase:
    """The same base, parameters shared, with the items' features gone as if they never had had any."""
    other = copy.copy(module)
    name = tensor_name("features", masking.modality)
    features = module.get_buffer(name).clone()
    features[masking.item_rows] = 0
    other._buffers = {**module._buffers, name: features}  # the copy is shallow: its own dictionary, else both change
    if masking.content is not None:
        other.graphs = Graphs(module.graphs.train, masking.content, module.graphs.config, features.device)
    return other


def _shortened(lists: NeighbourLists, item_rows: NDArray[np.int64], k: int) -> NeighbourLists:
    """The best k of every list (I, k + spare) that are none of `item_rows`, whose own lists are empty."""
    gone = np.isin(lists.items, item_rows) | (lists.items < 0)
    gone[item_rows] = True
    order = np.argsort(gone, axis=1, kind="stable")[:, :k]
    left = ~np.take_along_axis(gone, order, axis=1)
    return NeighbourLists(
        np.where(left, np.take_along_axis(lists.items, order, axis=1), -1),
        np.where(left, np.take_along_axis(lists.values, order, axis=1), 0.0),
    )
