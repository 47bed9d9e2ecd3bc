"""The base: two views of the graph over items, fused per node, and a user who is a function of the history.

Axes: `U` users, `I` items, `M` modalities (behaviour first), `D` width, `DD` = 2D, `W` any width, `B` positives of a
batch, `N` negatives.

Two node tables per item, as history (`Q`) and as candidate (`E`), are kept side by side in one (I, DD) matrix, because
both go through the same graphs. Everything from the node features to the fused tables is linear once the fusion gates
are known, so a candidate's vector is kept as the exact sum of its parts (behaviour, then each content modality).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import sparse
from torch import Tensor, nn

from training.data.features import FeatureMatrix
from training.graph.content import centred_unit_rows, mean_graph
from training.graph.normalise import row_normalise, symmetric_normalise
from training.graph.pseudo_edges import pseudo_edges
from training.models.magnet.both_views import both_views
from training.models.magnet.config import BaseConfig, GraphConfig
from training.models.magnet.tensor_names import tensor_name
from training.models.magnet.wide_features import MOST_DIRECTIONS, leading_directions
from training.models.propagation import Propagation, RowsOfProduct

ALIGNED_ITEMS = 1024
"""Items of a batch, at most, whose two views are compared: the comparison is of each with all."""


@dataclass(frozen=True)
class Views:
    """Item tables after propagation: the fused history and candidate tables, and both views before fusion."""

    history: Float[Tensor, "I D"]
    candidate: Float[Tensor, "I D"]
    original: Float[Tensor, "I DD"]
    augmented: Float[Tensor, "I DD"]


class Graphs:
    """The fixed graphs of one training set; made once, shared by members."""

    def __init__(
        self,
        train: sparse.csr_array,
        content: Mapping[str, sparse.csr_array],
        config: GraphConfig,
        device: torch.device,
    ) -> None:
        self.train, self.config = train, config
        self.degree = np.asarray(train.sum(axis=0)).ravel().astype(np.float32)
        warm = self.degree > 0
        self.content_graph = mean_graph(content, train.shape[1])
        bipartite = symmetric_normalise(train)
        self.to_users = Propagation(bipartite, device)
        self.to_items = Propagation(sparse.csr_array(bipartite.T), device)
        self.rho = config.rho if self.content_graph.nnz else 0.0
        self.content: Propagation | None = None
        self.augmented: tuple[Propagation, Propagation] | None = None
        if self.rho and config.edges == "item-item":
            self.content = Propagation(self.content_graph, device)
        elif self.rho:
            pseudo = pseudo_edges(
                train, self.content_graph, per_user=config.pseudo_per_user, per_tail_item=config.pseudo_per_tail_item
            )
            joined = symmetric_normalise(sparse.csr_array(train + self.rho * pseudo))
            self.augmented = (Propagation(joined, device), Propagation(sparse.csr_array(joined.T), device))
        # what an item without interactions is known by: its warm content neighbours
        self.warm_neighbours = RowsOfProduct(
            row_normalise(sparse.csr_array(self.content_graph * warm[None, :])), device
        )
        self.history = RowsOfProduct(train, device)
        self.history_length = torch.from_numpy(np.diff(train.indptr).astype(np.int64)).to(device)

    def step_original(self, x: Float[Tensor, "I W"]) -> Float[Tensor, "I W"]:
        """One hop item → users → item over training edges."""
        return self.to_items(self.to_users(x))

    def step_augmented(
        self, x: Float[Tensor, "I W"], original: Float[Tensor, "I W"] | None = None
    ) -> Float[Tensor, "I W"]:
        """One hop with the content-induced edges, weighted ρ; `original` is `step_original(x)` where it is known."""
        if self.augmented is not None:
            return self.augmented[1](self.augmented[0](x))
        original = self.step_original(x) if original is None else original
        return original if self.content is None else torch.lerp(original, self.content(x), self.rho)

    def step_both(self, original: Float[Tensor, "I W"], augmented: Float[Tensor, "I W"]) -> Float[Tensor, "I W"]:
        """`step_original(original) + step_augmented(augmented)`, over the training edges once where both use them."""
        if self.augmented is not None:
            return self.step_original(original) + self.step_augmented(augmented)
        hop = self.step_original(original + (1 - self.rho) * augmented)
        return hop if self.content is None else hop.add_(self.content(augmented), alpha=self.rho)


class DualViewBase(nn.Module):
    """Phase A's parameters: identities, one projection per content modality, fusion gates, forms of new items."""

    log_degree: Tensor  # (I,)
    cold: Tensor  # (I,) bool

    def __init__(
        self,
        graphs: Graphs,
        features: Mapping[str, FeatureMatrix],
        graph_config: GraphConfig,
        config: BaseConfig,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.graphs, self.config, self.layers = graphs, config, graph_config.layers
        self.content_names = list(features)
        n_items, width = graphs.train.shape[1], config.embedding_size
        self.identity = nn.Parameter(torch.randn(n_items, 2 * width, generator=generator) * config.id_std)
        self.projection = nn.ParameterDict()
        self._wide: dict[str, Tensor] = {}  # (I, d) features of which a buffer holds the leading directions
        for name, matrix in features.items():
            rows = torch.from_numpy(centred_unit_rows(matrix.values, matrix.present)[0])
            read = min(rows.shape[1], MOST_DIRECTIONS)
            start = torch.randn(read, 2 * width, generator=generator) / rows.shape[1] ** 0.5
            self.projection[tensor_name("to", name)] = nn.Parameter(start)
            if read < rows.shape[1]:
                self._wide[name] = rows
                self.register_buffer(tensor_name("directions", name), leading_directions(rows, read))
                rows = rows @ self.get_buffer(tensor_name("directions", name))
            self.register_buffer(tensor_name("features", name), rows, persistent=False)
        self.register_load_state_dict_post_hook(lambda module, _: module._read_wide())  # type: ignore[no-untyped-call]
        self.fusion = nn.Parameter(torch.zeros(2, 2 * width + 1))
        # a new item's form: own content, and warm neighbours' finished vectors; one pair of weights per table
        self.new_item = nn.Parameter(torch.ones(2, 2))
        self.register_buffer("log_degree", torch.from_numpy(np.log1p(graphs.degree)), persistent=False)
        self.register_buffer("cold", torch.from_numpy(graphs.degree == 0), persistent=False)

    @torch.no_grad()
    def start_from(self, other: DualViewBase) -> None:
        """Take over another base's parameters; identities that it never showed, those of cold items, become zero."""
        self.load_state_dict(other.state_dict())
        self.identity[other.cold] = 0

    @property
    def width(self) -> int:
        """D."""
        return self.config.embedding_size

    @torch.no_grad()
    def _read_wide(self) -> None:
        """Read wide features by the directions that were loaded: another machine's differ in sign, or more."""
        for name, rows in self._wide.items():
            directions, features = (self.get_buffer(tensor_name(kind, name)) for kind in ("directions", "features"))
            features.copy_(rows @ directions.cpu())

    def content_projection(self, name: str) -> Float[Tensor, "d DD"]:
        """What takes a modality's features, as wide as they are, into both tables."""
        weights: Tensor = self.projection[tensor_name("to", name)]
        return self.get_buffer(tensor_name("directions", name)) @ weights if name in self._wide else weights

    def node_features(self) -> dict[str, Float[Tensor, "I DD"]]:
        """Each modality's part of `x_i = ID_i + Σ_m W_m F_i^m`, for both tables."""
        parts: dict[str, Tensor] = {"behaviour": self.identity}
        for name in self.content_names:
            parts[name] = self.get_buffer(tensor_name("features", name)) @ self.projection[tensor_name("to", name)]
        return parts

    def propagate(self, x: Float[Tensor, "I W"]) -> tuple[Float[Tensor, "I W"], Float[Tensor, "I W"]]:
        """The mean over layers in the original and in the augmented view; linear in `x`."""
        return both_views(x, self.graphs, self.layers)

    def gates(self, original: Float[Tensor, "I DD"], augmented: Float[Tensor, "I DD"]) -> Float[Tensor, "2 I 1"]:
        """Per table and node, how much of the original view: a scalar gate of `[H^O; H^A; log degree]` (our choice)."""
        width = self.width
        return torch.stack(
            [
                torch.sigmoid(
                    of_original @ weight[:width]
                    + of_augmented @ weight[width : 2 * width]
                    + self.log_degree * weight[2 * width]
                )[:, None]
                for of_original, of_augmented, weight in zip(
                    original.chunk(2, dim=1), augmented.chunk(2, dim=1), self.fusion, strict=True
                )
            ]
        )

    def fuse(
        self, original: Float[Tensor, "I DD"], augmented: Float[Tensor, "I DD"], gates: Float[Tensor, "2 I 1"]
    ) -> tuple[Float[Tensor, "I D"], Float[Tensor, "I D"]]:
        """`g H^O + (1 − g) H^A`, table by table: history, candidate."""
        tables = zip(original.chunk(2, dim=1), augmented.chunk(2, dim=1), gates, strict=True)
        history, candidate = (torch.lerp(of_augmented, of_original, gate) for of_original, of_augmented, gate in tables)
        return history, candidate

    def as_new(
        self,
        new: Bool[Tensor, " I"],
        own: Float[Tensor, "I DD"],
        fused: tuple[Float[Tensor, "I D"], Float[Tensor, "I D"]],
        norm: Float[Tensor, "I 1"],
    ) -> tuple[Float[Tensor, "I D"], Float[Tensor, "I D"]]:
        """`fused` with `new` items as if nobody had taken them: own content and the mean of their warm neighbours.

        Neighbours enter as they are served: candidates with unit norm, history rows as they are.
        """
        rows = torch.nonzero(new).ravel()
        if not len(rows):
            return fused
        scale = self.new_item.repeat_interleave(self.width, dim=1)  # (own | neighbours, DD)
        history, candidate = fused
        neighbours = self.graphs.warm_neighbours(rows.cpu().numpy(), torch.cat([history, candidate / norm], dim=1))
        as_history, as_candidate = (scale[0] * own[rows] + scale[1] * neighbours).chunk(2, dim=1)
        return history.index_put((rows,), as_history), candidate.index_put((rows,), as_candidate)

    def norms(self, candidate: Float[Tensor, "I D"]) -> Float[Tensor, "I 1"]:
        """Length of each candidate vector."""
        norms: Tensor = candidate.norm(dim=1, keepdim=True).clamp_min(1e-12)
        return norms

    def forward(self, dropped: Bool[Tensor, " I"] | None = None) -> Views:
        """Both tables; items in `dropped`, and cold ones, are shown in the form of a new item."""
        parts = self.node_features()
        own = sum((parts[name] for name in self.content_names), torch.zeros_like(self.identity))
        original, augmented = self.propagate(torch.where(self.cold[:, None], 0.0, parts["behaviour"]) + own)
        fused = self.fuse(original, augmented, self.gates(original, augmented))
        new = self.cold if dropped is None else self.cold | dropped
        history, candidate = self.as_new(new, own, fused, self.norms(fused[1]))
        return Views(history, candidate, original, augmented)

    @torch.no_grad()
    def candidate_parts(self) -> Float[Tensor, "I M D"]:
        """The candidate table split by modality: `parts.sum(1) == forward().candidate`, exactly but for rounding."""
        return self.split_tables()[1]

    def split_tables(self) -> tuple[Float[Tensor, "I M D"], Float[Tensor, "I M D"]]:
        """Both tables of `forward()` split by modality: history, candidate."""
        parts = self.node_features()
        parts["behaviour"] = torch.where(self.cold[:, None], 0.0, parts["behaviour"])
        views = {name: self.propagate(part) for name, part in parts.items()}
        original = sum((view[0] for view in views.values()), torch.zeros_like(self.identity))
        augmented = sum((view[1] for view in views.values()), torch.zeros_like(self.identity))
        gates = self.gates(original, augmented)
        norm = self.norms(self.fuse(original, augmented, gates)[1])
        split = []
        for name, part in parts.items():
            fused = self.fuse(*views[name], gates)
            own = torch.zeros_like(part) if name == "behaviour" else part
            split.append(self.as_new(self.cold, own, fused, norm))
        history, candidate = (torch.stack(table, dim=1) for table in zip(*split, strict=True))
        return history, candidate

    def losses(
        self,
        user_rows: Int[Tensor, " B"],
        item_rows: Int[Tensor, " B"],
        negatives: Int[Tensor, " N"],
        own_negatives: Bool[Tensor, "B N"],
        dropped: Bool[Tensor, " I"] | None,
    ) -> dict[str, Tensor]:
        """Sampled softmax over cosines, with the positive left out of the user's sum; InfoNCE between the views."""
        views = self(dropped)
        distinct, place = torch.unique(user_rows, return_inverse=True)
        users = self.graphs.history(distinct.cpu().numpy(), views.history)[place]
        users = users - views.history[item_rows]
        # of a history of one item nothing is left: the length of 0 would multiply gradients by 1e12, which cancel but
        # for their rounding
        users = users.masked_fill((self.graphs.history_length[user_rows] == 1)[:, None], 0.0)
        users = nn.functional.normalize(users, dim=1) / self.config.temperature
        candidates = nn.functional.normalize(views.candidate[torch.cat([item_rows, negatives])], dim=1)
        own, others = candidates[: len(item_rows)], candidates[len(item_rows) :]
        positive = (users * own).sum(1)
        rest = torch.logsumexp((users @ others.T).masked_fill_(own_negatives, -1e9), dim=1)
        parts = {"softmax": nn.functional.softplus(rest - positive).mean()}
        if self.config.view_alignment and self.graphs.rho:
            rows = compared_items(item_rows)
            first = nn.functional.normalize(views.original[rows, self.width :], dim=1)
            second = nn.functional.normalize(views.augmented[rows, self.width :], dim=1)
            logits = first @ second.T / self.config.temperature
            target = torch.arange(len(rows), device=rows.device)
            parts["alignment"] = self.config.view_alignment * nn.functional.cross_entropy(logits, target)
        return parts


def compared_items(item_rows: Int[Tensor, " B"]) -> Int[Tensor, " C"]:
    """The distinct rows, ALIGNED_ITEMS of them drawn at random where there are more."""
    rows: Tensor = torch.unique(item_rows)
    if len(rows) <= ALIGNED_ITEMS:
        return rows
    return rows[torch.randperm(len(rows))[:ALIGNED_ITEMS].to(rows.device)]
