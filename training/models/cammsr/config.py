"""Settings of CAMMSR."""

from __future__ import annotations

from pydantic import Field, model_validator

from training.models.embedding.config import EmbeddingConfig


class CammsrConfig(EmbeddingConfig):
    """CAMMSR's settings. The abstract gives none; these are usual ones for Transformers over short sequences [ours]."""

    batch_size: int = Field(default=32, ge=1)
    """Sequences per step; few, because a user is one sequence and small data have few users."""
    max_epochs: int = Field(default=300, ge=1)
    """Upper bound of passes over all sequences."""
    reg: float = Field(default=0.0, ge=0)
    """Weight decay of the optimiser."""
    history_cap: int = Field(default=50, ge=2)
    """Length of a sequence; a user is encoded from the latest items."""
    layers: int = Field(default=2, ge=1)
    """Transformer layers."""
    heads: int = Field(default=2, ge=1)
    """Attention heads; they divide `embedding_size`."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Dropout in the Transformer."""
    category: float = Field(default=0.1, ge=0)
    """λ₁, weight of the category prediction."""
    contrast: float = Field(default=0.1, ge=0)
    """λ₂, weight of InfoNCE between a sequence and its copy with swapped modalities."""
    swapped: float = Field(default=0.2, ge=0, le=1)
    """Share of positions whose modalities are swapped in the copy."""
    temperature: float = Field(default=0.2, gt=0)
    """Temperature of InfoNCE."""

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> CammsrConfig:
        if self.embedding_size % self.heads:
            raise ValueError(
                f"expected heads that divide embedding_size, found heads = {self.heads} and "
                f"embedding_size = {self.embedding_size}"
            )
        return self
