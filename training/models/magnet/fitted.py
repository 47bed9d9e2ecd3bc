"""A fitted MAGNET: scores users, and says what its snapshot holds.

Axes: `U` users, `I` items, `E` experts, `M` modalities, `D` width, `W` residual width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model_store.manifest import Term
from training.data.features import FeatureMatrix
from training.models.magnet.config import MagnetConfig
from training.models.magnet.masked import ContentGraphs, Masking
from training.models.magnet.node_features import user_features
from training.models.magnet.scored import Evidence, MagnetScorer, Mixture
from training.models.magnet.serving_graphs import serving_graphs
from training.models.protocol import FittedModel, SnapshotContent

USER_ROUTER = ("mean", "scale", "w1", "b1", "w2", "b2")


class FittedMagnet(FittedModel):
    """The mixture over the evidence of one set of histories."""

    def __init__(
        self,
        evidence: Evidence,
        mixture: Mixture,
        modalities: list[str],
        chosen: Any,
        config: MagnetConfig,
        facts: dict[str, Any],
        features: Mapping[str, FeatureMatrix],
    ) -> None:
        self.evidence, self.mixture, self.modalities = evidence, mixture, modalities
        self.chosen, self.config, self._facts, self._features = chosen, config, facts, features
        self.scorer = MagnetScorer(evidence, mixture)

    def score_block(self, user_rows: NDArray[np.int64]) -> NDArray[np.floating]:
        """(n, I) all terms, exact."""
        return self.scorer.score_block(user_rows)

    def training_facts(self) -> dict[str, Any]:
        """Steps, seconds, the stage switch, what the closed form chose."""
        return self._facts

    def terms(self) -> tuple[Term, ...]:
        """The experts, after `item-item` where that stands beside them."""
        terms = []
        if self.evidence.item_item is not None and not self.evidence.routed:
            terms.append(self.evidence.item_item.term(self.modalities))
        mix = self.mixture.experts.mix.detach().numpy()
        for role, row in zip(self.mixture.experts.roles, mix, strict=True):
            terms.append(Term(name=role.name, role=role.role, modalities=self._shares(row)))
        return tuple(terms)

    def _shares(self, values: NDArray[np.float32]) -> dict[str, float | None]:
        return {name: round(float(share), 6) for name, share in zip(self.modalities, values, strict=True)}

    @property
    def history_scale(self) -> float:
        """What history rows are divided by so that half precision holds them well: only directions of sums matter."""
        largest = np.abs(self.evidence.base.history).max(initial=0.0)
        return float(largest) or 1.0

    @cached_property
    def _content(self) -> ContentGraphs:
        return ContentGraphs(self._features, self.config.graph)

    @torch.no_grad()
    def masked(
        self,
        item_rows: NDArray[np.int64],
        modality: str,
        *,
        rebuild: bool,
        user_rows: NDArray[np.int64] | None = None,
    ) -> Mapping[str, NDArray[Any]]:
        """The base run again; experts, router, the closed form's behaviour and all moments stay as they were fitted.

        With `rebuild` the item-item term loses its content share towards the masked items, which have no neighbours
        left; everything else of it is kept.
        """
        evidence, again, column = self.evidence, self.evidence.base.again, self.modalities.index(modality)
        assert again is not None
        base = again(Masking(item_rows, modality, self._content.without(item_rows, modality) if rebuild else None))
        present = evidence.present.copy()
        present[item_rows, column] = False
        term = evidence.item_item
        if rebuild and term is not None and modality in term.shares:
            values = term.values.copy()
            values[np.isin(term.items, item_rows), term.shares.index(modality)] = 0
            term = replace(term, values=values)
        rows = np.arange(len(evidence.users)) if user_rows is None else user_rows
        histories = evidence.interactions[rows]
        users, features = evidence.users.copy(), evidence.user_features.copy()
        users[rows] = base.users(histories)
        features[rows] = user_features(histories, base.parts, present)
        changed = replace(evidence, base=base, present=present, item_item=term, users=users, user_features=features)
        return {**self._arrays(changed), "item_present": present}

    def _arrays(self, evidence: Evidence) -> dict[str, NDArray[Any]]:
        """What a snapshot stores of this evidence."""
        experts, router = self.mixture.experts, self.mixture.router
        item_logits = router.item(torch.from_numpy(evidence.item_features)).numpy()
        user_logits = router.user(torch.from_numpy(evidence.user_features)).numpy()
        residuals = experts.item_residuals(torch.from_numpy(evidence.base.parts)).numpy()
        arrays: dict[str, NDArray[Any]] = {
            "item_parts": evidence.base.parts,
            "item_history": evidence.base.history / np.float32(self.history_scale),
            "user_vectors": evidence.users,
            "user_logits": user_logits,
            "item_logits": item_logits,
            "item_experts": residuals,
        }
        if evidence.item_item is not None:
            arrays |= evidence.item_item.arrays(self.modalities)
        return arrays

    @torch.no_grad()
    def snapshot_content(self) -> SnapshotContent:
        """Scoring kind `pair`."""
        evidence, experts, router = self.evidence, self.mixture.experts, self.mixture.router
        user = router.user
        parameters = {
            "members": np.array([evidence.base.members], np.int32),
            "expert_mix": experts.mix.numpy(),
            "expert_gain": experts.gain.numpy(),
            "expert_template": experts.template.numpy(),
            "expert_removes": experts.removes.numpy().astype(np.int32),
            "expert_maps": experts.user_map.numpy(),
            "expert_scale": experts.scale.numpy(),
            "residual_maps": evidence.maps,
            "pair_weights": router.pair_weights.numpy(),
            "part_mean": evidence.moments.mean,
            "part_covariance": evidence.moments.covariance,
            "part_with_total": evidence.moments.with_total,
            **{f"user_router_{name}": getattr(user, name).numpy() for name in USER_ROUTER},
        }
        return SnapshotContent(
            scoring="pair",
            embedding_size=evidence.base.history.shape[1],
            terms=self.terms(),
            arrays=self._arrays(evidence),
            parameters={name: np.ascontiguousarray(value) for name, value in parameters.items()},
            files=serving_graphs(
                evidence.base.new_item, evidence.base.members, self.history_scale, experts, router.user, router.item
            ),
            top_k_experts=router.top_k,
            item_item={
                "weight": self.chosen.blend,
                **(self._facts.get("item_item") or {"kind": "off"}),
                "cold_exposure": evidence.exposure,
            },
        )
