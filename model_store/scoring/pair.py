"""Scoring kind `pair`: MAGNET's mixture of structured experts, routed per user-item pair.

Axes: `I` items, `N` candidates, `n` history length, `E` experts, `M` modalities, `D` width, `W` residual width.

    s(u,i)     = Σ_{e ∈ TopK} g_e(u,i) s_e(u,i)
    s_e(u,i)   = t(u) + κ_e Σ_m ω_em (R_em(u,i) − R_em(u,u*)) + ⟨η_e tanh(u W_e), φ_e(i)⟩
    R_em(u,i)  = ⟨u, V^m_i − [r_e ≠ ∅] V^{r_e}_i A_{r_e,m}⟩ + B^m(u,i),   t(u) = Σ_m ⟨u, V^m_{u*}⟩ + B^m(u,u*)
    ℓ_e(u,i)   = a_e(u) + c_e(i) + Σ_m γ_em tanh(z_m(u,i) / 3),   g = softmax over the top K of ℓ

`V^m_i` are the parts of the item's vector (their sum is the vector that candidates are retrieved by). A complementary
expert reads the others' parts after removing what its modality `r_e` predicts of them (ridge map `A`). `u*` is the
user's typical candidate: the expected item given a score `CANDIDATE_LEVEL` standard deviations above the catalogue's
mean, a closed form in the moments of the parts. Every expert's opinion starts from its score `t(u)`, so that a gate
chooses how an item is judged and does not lift or lower it as a whole. `z_m` is the part's inner product above the
typical candidate's, in units of the user's spread. `B^m(u,i)` is the modality's share of the item-item evidence
`Σ_{j ∈ history} w B_ji`, which the experts read with their streams; a snapshot whose terms name `item-item` has it as a
base term beside them instead. About an item that nobody has taken there is no such evidence; it stands with

    B^m(u,i)   = x ρ(u,i) B^m(u,·),   ρ(u,i) = Σ_m (⟨u, V^m_i⟩ − mean_m(u)) / Σ_m (⟨u, V^m_{u*}⟩ − mean_m(u)),

the evidence `B(u,·)` that takes an item into the user's list (`SparseScores.entry`), as far as the item comes up to
the typical candidate, times the snapshot's `cold_exposure` x.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from model_store.half import widened
from model_store.manifest import ITEM_ITEM
from model_store.scoring.base import (
    ALL_ROWS,
    CANDIDATE_LEVEL,
    F32,
    F64,
    Because,
    PairScores,
    Readable,
    Rows,
    Scorer,
    SparseScores,
    UserState,
    side_by_side,
    summed,
)
from model_store.scoring.item_item import ItemItemTerm, no_item_item


@dataclass(frozen=True)
class _Reading:
    """What one user's vector `u` makes of the parameters."""

    typical: F32  # (M, D) the parts of the typical candidate `u*`
    spread: float  # standard deviation of the parts' total over the catalogue
    deviation: F32  # (M,) how much part scores spread over the catalogue
    predicted: dict[int, F32]  # (M, D) by modality that an expert removes: what it predicts, as seen along `u`
    experts: F32  # (E, W) the user's side of the residual maps

    def by_expert(self) -> F32:
        """(E·W, E): the users' sides below each other, each in its own column."""
        count, width = self.experts.shape
        spread = np.zeros((count, width, count), np.float32)
        spread[np.arange(count), :, np.arange(count)] = self.experts
        return spread.reshape(-1, count)


class PairScorer(Scorer):
    """MAGNET over the stored arrays; terms are the experts, after `item-item` where that stands beside them."""

    candidate_arrays = ("item_parts", "item_logits", "item_experts")

    def __init__(self, snapshot: Readable) -> None:
        super().__init__(snapshot)
        self._parts = snapshot.array("item_parts")
        self._history = snapshot.array("item_history")
        self._item_logits = snapshot.array("item_logits")
        self._item_experts = snapshot.array("item_experts")
        self._present = snapshot.array("item_present")
        self._item_item = ItemItemTerm(snapshot) if snapshot.has("item_item_indptr") else None
        self._beside = self.terms[0].name == ITEM_ITEM
        self.top_k = snapshot.manifest.top_k_experts
        exposure = snapshot.manifest.item_item.get("cold_exposure", 0.0)
        self._exposure = float(exposure) if isinstance(exposure, int | float) else 0.0
        self._new = snapshot.array("item_degree") == 0
        self._exposed = np.flatnonzero(self._new) if self._exposure else np.zeros(0, np.int64)

        def parameter(name: str) -> F32:
            return np.asarray(snapshot.parameter(name), dtype=np.float32)

        self.mix = parameter("expert_mix")  # ω (E, M)
        self.gain = parameter("expert_gain")  # κ (E,)
        self.members = int(snapshot.parameter("members")[0])  # bases side by side, each with its own unit block
        self.removes = np.asarray(snapshot.parameter("expert_removes"), dtype=np.int64)  # r (E,), -1 for none
        self.residual_maps = parameter("residual_maps")  # A (M, M, D, D): from modality, to modality
        self.pair_weights = parameter("pair_weights")  # γ (E, M)
        self.part_mean = parameter("part_mean")  # (M, D)
        self.part_covariance = parameter("part_covariance")  # (M, D, D)
        self.part_with_total = parameter("part_with_total")  # (M, D, D)
        self.expert_maps = parameter("expert_maps")  # W (E, D, W)
        self.expert_scale = parameter("expert_scale")  # η (E,)
        self._router = {name: parameter(f"user_router_{name}") for name in ("mean", "scale", "w1", "b1", "w2", "b2")}
        self._removed = sorted({int(removed) for removed in self.removes if removed >= 0})
        width = self.part_mean.shape[1]
        by_expert = self.expert_maps.transpose(0, 2, 1)
        maps = [self.part_with_total, self.part_covariance, *self.residual_maps[self._removed], by_expert]
        self._maps: F32 = np.concatenate([np.asarray(found, np.float32).reshape(-1, width) for found in maps])
        self._cuts = (2 * self.part_mean.size, (2 + len(self._removed)) * self.part_mean.size)

    # -- the user ---------------------------------------------------------------------------------------------

    def encode_user(self, history_rows: Rows) -> UserState:
        """`u` = the sum of the history's rows of `Q`, normalised per member; no history gives the zero vector."""
        rows = self._capped(history_rows)
        total = widened(self._history[rows]).sum(axis=0)
        return self.state_of(rows, total / self._norm(total), self.user_logits(rows))

    def state_of(self, history_rows: NDArray[np.int32], vector: F32, logits: F32) -> UserState:
        """The state of a user with this capped history (n,) whose vector (D,) and logits (E,) are known."""
        return UserState(history_rows, vector, logits, self._gather(history_rows))

    def _norm(self, total: NDArray[np.floating]) -> NDArray[np.floating]:
        """What each entry of a history's sum (D,) is divided by: its block's length, times √members."""
        blocks = total.reshape(self.members, -1)
        lengths = np.maximum(np.linalg.norm(blocks, axis=1), 1e-12) * self.members**0.5
        return np.repeat(lengths, blocks.shape[1]).astype(total.dtype)

    def known_user(self, user_row: int) -> UserState:
        """As `encode_user`, from the precomputed vectors."""
        rows = self._capped(self.snapshot.history(user_row))
        vector = self.snapshot.array("user_vectors")[user_row].astype(np.float32)
        logits = self.snapshot.array("user_logits")[user_row].astype(np.float32)
        return self.state_of(rows, vector, logits)

    def user_logits(self, history_rows: NDArray[np.int32]) -> F32:
        """`a(u)` (E,): two small layers over what a user is (`user_features`)."""
        router = self._router
        x = (self.user_features(history_rows) - router["mean"]) / router["scale"]
        hidden = np.tanh(x @ router["w1"] + router["b1"])
        logits: F32 = hidden @ router["w2"] + router["b2"]
        return logits

    def user_features(self, history_rows: NDArray[np.int32]) -> F32:
        """(1 + 2M,): log length, then per modality coherence and the share of the history that has it.

        Coherence is the mean cosine between two different items' parts, in closed form from the norm of their sum:
        users who choose by looks have visually coherent histories.
        """
        parts = widened(self._parts[history_rows])
        present = self._present[history_rows]
        norms = np.linalg.norm(parts, axis=2, keepdims=True)
        units = np.where(present[:, :, None], parts / np.maximum(norms, 1e-12), 0.0)
        count = present.sum(axis=0).astype(np.float32)
        pairs = count * (count - 1)
        coherence = (np.square(units.sum(axis=0)).sum(axis=1) - count) / np.maximum(pairs, 1.0)
        coherence = np.where(pairs > 0, coherence, 0.0)
        share = count / max(len(history_rows), 1)
        return np.concatenate(([np.log1p(len(history_rows))], coherence, share)).astype(np.float32)

    def _gather(self, rows: NDArray[np.int32]) -> SparseScores:
        return no_item_item(len(self.modalities)) if self._item_item is None else self._item_item.gather(rows)

    def candidates_beyond_index(self, state: UserState, depth: int) -> NDArray[np.int64]:
        """And the `depth` new items nearest to the user: their evidence takes them further than their vectors do."""
        rows = super().candidates_beyond_index(state, depth)
        if not len(self._exposed):
            return rows
        nearness = self._exposed_vectors @ state.vector
        kept = min(depth, len(nearness))
        return np.union1d(rows, self._exposed[np.argpartition(-nearness, kept - 1)[:kept]])

    @cached_property
    def _exposed_vectors(self) -> F32:
        return self.retrieval_vectors(self._exposed)

    # -- the pair ---------------------------------------------------------------------------------------------

    def retrieval_vectors(self, rows: Rows | slice = ALL_ROWS) -> F32:
        """(n, D): the sum of each item's parts."""
        vectors: F32 = widened(self._parts[rows]).sum(axis=1)
        return vectors

    def expert_vectors(self, item_rows: Rows) -> F32:
        """(N, E·(D + W)): what each expert's score is linear in, `κ Σ_m ω_em (V^m − V^r A_rm)`, and its residual."""
        parts = widened(self._parts[item_rows])
        linear = np.einsum("em,nmd->end", self.gain[:, None] * self.mix, parts)
        for expert, removed in enumerate(self.removes.tolist()):
            if removed >= 0:
                weighted = np.einsum("m,mde->de", self.gain[expert] * self.mix[expert], self.residual_maps[removed])
                linear[expert] -= parts[:, removed] @ weighted
        residual = widened(self._item_experts[item_rows]).transpose(1, 0, 2) * self.expert_scale[:, None, None]
        return side_by_side(list(np.concatenate([linear, residual], axis=2)), len(item_rows))

    def score(self, state: UserState, item_rows: Rows) -> PairScores:
        """Every term of every candidate."""
        parts = widened(self._parts[item_rows])
        reading = self._read(state.vector)
        amounts, part_scores = self._expert_amounts(state, reading, parts, item_rows)
        gates = self.gate(state, item_rows, part_scores, reading.deviation)
        routed = gates[:, :, None] * amounts
        experts = PairScores(item_rows, summed(routed), gates.astype(np.float32), routed)
        return experts.beside(self._evidence(state, reading, part_scores, item_rows)) if self._beside else experts

    def _read(self, vector: F32) -> _Reading:
        """Everything that scoring reads of a user, by one product with all maps."""
        mapped = self._maps @ vector
        direction, covariance = mapped[: self._cuts[0]].reshape(2, *self.part_mean.shape)
        predicted = mapped[self._cuts[0] : self._cuts[1]].reshape(-1, *self.part_mean.shape)
        spread = float(np.sqrt(max((direction @ vector).sum(), 0.0) + 1e-12))  # rounding can make it negative
        experts = np.tanh(mapped[self._cuts[1] :].reshape(len(self.mix), -1))
        return _Reading(
            typical=self.part_mean + np.float32(CANDIDATE_LEVEL / spread) * direction,
            spread=spread,
            deviation=np.sqrt(np.maximum(covariance @ vector, 0) + np.float32(1e-12)),
            predicted=dict(zip(self._removed, predicted, strict=True)),
            experts=self.expert_scale[:, None] * experts,
        )

    def gate(self, state: UserState, item_rows: Rows, part_scores: F32, deviation: F32) -> F64:
        """`g` (N, E) from the part scores (N, M) above the typical candidate's; zero outside the top K, sums to 1."""
        cues = np.tanh(part_scores / (3.0 * deviation)) * self._present[item_rows]
        logits = state.logits + widened(self._item_logits[item_rows]) + cues @ self.pair_weights.T
        chosen = np.argsort(-logits, axis=1, kind="stable")[:, : self.top_k]
        items = np.arange(len(logits))[:, None]
        kept = logits[items, chosen].astype(np.float64)
        kept = np.exp(kept - kept[:, :1])
        gates = np.zeros(logits.shape)
        gates[items, chosen] = kept / kept.sum(axis=1, keepdims=True)
        return gates

    def _expert_amounts(self, state: UserState, reading: _Reading, parts: F32, item_rows: Rows) -> tuple[F64, F32]:
        """Each expert's score split over modalities (N, E, M), and the part scores above `u*` (N, M)."""
        part_scores = np.empty(parts.shape[:2], np.float32)
        predicted: dict[int, F32] = {}  # by modality removed, what it predicts of the scores (N, M)
        for m, typical in enumerate(reading.typical):
            along = state.vector[:, None]
            if m in reading.predicted:
                along = np.concatenate([along, reading.predicted[m].T], axis=1)
            scores = parts[:, m] @ along - typical @ along
            part_scores[:, m] = scores[:, 0]
            predicted[m] = scores[:, 1:]
        read, level = part_scores, (reading.typical @ state.vector).astype(np.float64)
        if not self._beside:
            evidence = self._evidence(state, reading, part_scores, item_rows)
            read = read + (evidence - state.item_item.typical).astype(np.float32)
            level = level + state.item_item.typical
        linear = np.repeat(read[:, None, :], len(self.mix), axis=1)  # (N, E, M)
        for expert, removed in enumerate(self.removes.tolist()):
            if removed >= 0:
                linear[:, expert] -= predicted[removed]
        by_expert = reading.by_expert()
        residual = widened(self._item_experts[item_rows]).reshape(-1, len(by_expert)) @ by_expert
        return self.mix * (self.gain[:, None] * linear + residual[:, :, None]) + level, part_scores

    def _evidence(self, state: UserState, reading: _Reading, part_scores: F32, item_rows: Rows) -> F64:
        """(N, M) the item-item evidence: the history's, or what new items stand with."""
        evidence = state.item_item.at(item_rows)
        new = self._new[item_rows]
        if self._exposure and new.any():
            reach = 1 + part_scores[new].sum(axis=1, dtype=np.float64) / (CANDIDATE_LEVEL * reading.spread)
            evidence[new] += self._exposure * reach[:, None] * state.item_item.entry
        return evidence

    def because(self, state: UserState, item_row: int) -> Because:
        """Exact for the item-item evidence and the experts' linear parts; gates, typical candidate, norm are held."""
        rows = np.array([item_row])
        parts = widened(self._parts[rows])
        reading = self._read(state.vector)
        _, part_scores = self._expert_amounts(state, reading, parts, rows)
        gates = self.gate(state, rows, part_scores, reading.deviation)[0]
        typical = reading.typical
        above = parts[0] - typical
        direction = typical.sum(axis=0).astype(np.float64)
        read_by = np.zeros(len(self.modalities))  # what a unit of each stream moves the score by
        for expert in np.flatnonzero(gates):
            removed = self.removes[expert]
            read = above
            if removed >= 0:
                read = above - np.einsum("d,mde->me", above[removed], self.residual_maps[removed])
            share = gates[expert] * self.gain[expert] * self.mix[expert]
            direction += share @ read
            read_by += share
        if self._beside:
            read_by[:] = 1
        history = self._history[state.history_rows].astype(np.float64)
        history /= self._norm(history.sum(axis=0))
        exact = history @ direction
        rest = self.score(state, rows).scores[0] - state.item_item.at(rows)[0] @ read_by - direction @ state.vector
        attributed = float(rest) * (history @ state.vector)
        if self._item_item is not None:
            exact = exact + self._item_item.per_history_item(state.history_rows, item_row) @ read_by
        return Because(state.history_rows, exact, attributed)
