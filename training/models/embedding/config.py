"""Settings that every model has that is trained by BPR on triples."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from training.models.item_item import EvidenceConfig


class EmbeddingConfig(BaseModel):
    """Batches, optimiser, early stopping."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    embedding_size: int = Field(default=64, ge=1)
    """Width D of the vectors."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Adam's step size."""
    batch_size: int = Field(default=2048, ge=1)
    """Positives per step, each with one negative."""
    reg: float = Field(default=1e-4, ge=0)
    """Weight of the batch's squared norms."""
    max_epochs: int = Field(default=1000, ge=1)
    """Upper bound of passes over the training positives."""
    evaluate_every: int | None = Field(default=None, ge=1)
    """Epochs between validations; where omitted one, or on small sets as many as take 50 steps."""
    patience: int = Field(default=20, ge=1)
    """Validations without improvement before stopping."""
    history_cap: int = Field(default=1000, ge=1)
    """Items of a history that count for people whom the snapshot does not know, the latest ones."""
    members: int = Field(default=1, ge=1)
    """Models fitted apart from different seeds, their vectors side by side: the mean of their scores."""
    item_item: EvidenceConfig = EvidenceConfig()
    """Item-item evidence beside the model, with the weight that ranks validation best."""


class ContentConfig(EmbeddingConfig):
    """The same, for models that read content features."""

    train_features: bool = True
    """Let the features themselves be trained on from their values, as the public code of FREEDOM, MGCN and SMORE
    does."""
