"""Every setting of MAGNET, by component; unknown keys are errors."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from training.models.item_item import EvidenceConfig


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class GraphConfig(_Config):
    """The two views."""

    neighbours: int = Field(default=10, ge=1)
    """Content neighbours per item and modality."""
    hub_cap: int = Field(default=50, ge=1)
    """How many items may name the same item as their neighbour."""
    edges: Literal["item-item", "pseudo"] = "item-item"
    """Form of the content-induced edges: the content graph as a block between items, or pseudo user-item edges."""
    rho: float = Field(default=0.5, ge=0, le=1)
    """Weight of the content-induced edges in the augmented view; 0 leaves two equal views."""
    layers: int = Field(default=2, ge=1)
    """Propagation steps per view."""
    pseudo_per_user: int = Field(default=5, ge=0)
    """Strongest pseudo-edges kept per user."""
    pseudo_per_tail_item: int = Field(default=5, ge=0)
    """Strongest pseudo-edges kept per tail item."""


class BaseConfig(_Config):
    """Phase A: the dual-view base."""

    embedding_size: int = Field(default=256, ge=4)
    """Width D of item vectors."""
    id_std: float = Field(default=0.05, gt=0)
    """Standard deviation of the identities' initial values."""
    temperature: float = Field(default=0.2, gt=0)
    """Softmax temperature over cosines."""
    negatives: int = Field(default=1024, ge=1)
    """Negatives shared by a batch."""
    batch_size: int = Field(default=2048, ge=1)
    """Positives per step."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Adam's step size."""
    average: float = Field(default=0.0, ge=0, lt=1)
    """Decay of a moving average of the parameters, which then is what is validated and kept; 0 for the last step's."""
    view_alignment: float = Field(default=0.03, ge=0)
    """Weight of InfoNCE between the two views of an item."""
    id_dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of items per step that are shown in the form of a new item, so that new items are trained for."""
    max_steps: int = Field(default=6000, ge=1)
    """Upper bound of optimiser steps."""
    evaluate_every: int = Field(default=50, ge=1)
    """Steps between validations: this many, or an epoch where that is longer."""
    patience: int = Field(default=4, ge=1)
    """Validations without improvement before stopping."""
    continued_epochs: int = Field(default=4, ge=1)
    """Passes, at most, by which a fitted base is continued once positives are added; validation chooses among them."""
    continued_rate: float = Field(default=0.3, gt=0, le=1)
    """Share of the step size that a continued base is fitted with."""


class RouterConfig(_Config):
    """Phase B: experts and router on the frozen base."""

    top_k: int | None = Field(default=None, ge=1)
    """Experts kept per pair; as many as there are modalities where omitted."""
    reads: Literal["pair", "user", "item", "nothing"] = "pair"
    """What routing depends on: user, item and pair; or, as controls, the user alone, the item alone (a calibration by
    degree and by which modalities it has), or nothing (one weighting for all)."""
    roles: bool = True
    """Experts start from roles; otherwise as many start from random mixes of all modalities (a control)."""
    hidden: int = Field(default=16, ge=1)
    """Width of the router's functions of a user and of an item."""
    expert_width: int = Field(default=16, ge=1)
    """Width W of an expert's residual map."""
    expert_scale: float = Field(default=0.1, gt=0, le=1)
    """Initial scale of the residual maps; bounded by 1."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout on the residual maps."""
    held_out: float = Field(default=0.1, gt=0, lt=1)
    """Share of training positives that the base does not see, on which the router is fitted."""
    candidates: int = Field(default=300, ge=10)
    """Hard candidates per user in the router's loss."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Adam's step size."""
    weight_decay: float = Field(default=0.1, ge=0)
    """Decoupled weight decay of router and experts, towards the static mixture that they start from."""
    batch_users: int = Field(default=128, ge=1)
    """Users per step."""
    steps: int = Field(default=300, ge=10)
    """Optimiser steps; the second stage has always ramped before they end."""
    average: float = Field(default=0.98, ge=0, lt=1)
    """Decay of the moving average of the parameters, which is what is validated and kept; 0 for the last step's."""
    z_loss: float = Field(default=1e-4, ge=0)
    """Weight of the bound on the router's logits."""
    joint: bool = False
    """Base, experts and router are fitted together while positives are held out, instead of one after the other (a
    control). `steps` then says only how late the second stage may begin; there is one member."""


class EntropyConfig(_Config):
    """The progressive, entropy-triggered schedule."""

    coverage: float = Field(default=0.03, ge=0)
    """Weight of the first stage's pressure towards using all experts."""
    specialisation: float = Field(default=0.003, ge=0)
    """Weight of the second stage's pressure towards decided pairs."""
    load_threshold: float = Field(default=0.9, gt=0, le=1)
    """The trigger needs at least this entropy of the experts' load."""
    plateau: float = Field(default=2e-3, gt=0)
    """... and a moving entropy per pair that changes by less than this over the window."""
    window: int = Field(default=20, ge=1)
    """Steps over which the plateau is judged."""
    min_steps: int = Field(default=40, ge=0)
    """The trigger cannot fire before."""
    max_share: float = Field(default=0.5, gt=0, le=1)
    """The second stage starts after this share of the steps at the latest."""
    ramp: int = Field(default=60, ge=1)
    """Steps over which the second stage's pressure grows."""
    load_floor: float = Field(default=0.6, ge=0, le=1)
    """Below this load entropy coverage returns."""
    pair_floor: float = Field(default=0.2, ge=0, le=1)
    """Below this entropy per pair the pressure ends."""
    decay: float = Field(default=0.9, ge=0, lt=1)
    """Decay of the moving averages."""

    def latest_switch(self, steps: int) -> int:
        """The step of all these by which the second stage has begun."""
        return max(self.min_steps, int(self.max_share * steps))


class ItemItemConfig(EvidenceConfig):
    """The closed-form item-item evidence: ours, not MAGNET's."""

    enabled: bool = True
    """Add the item-item evidence."""
    placement: Literal["routed", "beside"] = "routed"
    """`routed`: experts read it with their streams; `beside`: a base term beside them."""


class MagnetConfig(_Config):
    """MAGNET's complete configuration."""

    graph: GraphConfig = GraphConfig()
    base: BaseConfig = BaseConfig()
    router: RouterConfig = RouterConfig()
    entropy: EntropyConfig = EntropyConfig()
    item_item: ItemItemConfig = ItemItemConfig()
    cold_exposure: float | None = Field(default=None, ge=0)
    """How far items without interactions are let into lists: the item-item evidence that they stand with, in units of
    what takes an item into the user's list; by validation where omitted."""
    cold_cost: float = Field(default=0.02, ge=0, le=1)
    """What a validated exposure may cost at most: a share of the Recall@20 of items with interactions."""
    members: int = Field(default=1, ge=1)
    """Bases trained apart from different seeds and concatenated."""
    history_cap: int = Field(default=512, ge=1)
    """Items of a history that count in serving, the latest ones; the base learns from whole histories [ours]."""

    @model_validator(mode="after")
    def _one_member_is_fitted_jointly(self) -> MagnetConfig:
        if self.router.joint and self.members > 1:
            raise ValueError(f"expected members = 1 with router.joint, found {self.members}: each would need a mixture")
        return self

    @model_validator(mode="after")
    def _second_stage_ramps(self) -> MagnetConfig:
        begins = self.entropy.latest_switch(self.router.steps)
        if begins + self.entropy.ramp > self.router.steps:
            raise ValueError(
                f"expected the second stage to ramp within router.steps = {self.router.steps}, but it may begin as "
                f"late as step {begins} (entropy.min_steps, max_share) and takes {self.entropy.ramp} (entropy.ramp)"
            )
        return self
