"""The models of the trainer: one registry, one module (or folder) per model."""
