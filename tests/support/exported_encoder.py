"""The trainer's own `user_encoder.onnx` for a tiny random snapshot, out of the parameters that the snapshot holds."""

from __future__ import annotations

import numpy as np
import torch

from model_store.scoring import Readable
from training.models.magnet.router import NodeFunction
from training.models.magnet.serving_graphs import UserEncoder, to_onnx

ROWS = 5


def exported_user_encoder(snapshot: Readable) -> bytes:
    """The graph that says what the snapshot's parameters say."""

    def parameter(name: str) -> torch.Tensor:
        return torch.from_numpy(np.array(snapshot.parameter(f"user_router_{name}"), np.float32))

    width, n_modalities = snapshot.manifest.embedding_size, len(snapshot.manifest.modalities)
    n_experts = len(parameter("b2"))
    some = torch.zeros(1, len(parameter("mean")))
    router = NodeFunction(some, len(parameter("b1")), torch.zeros(n_experts), torch.Generator())
    router.load_state_dict(
        {"prior": torch.zeros(n_experts)}
        | {name: parameter(name) for name in ("mean", "scale", "w1", "b1", "w2", "b2")}
    )
    example = (
        torch.randn(2, ROWS, width),
        torch.randn(2, ROWS, n_modalities, width),
        torch.ones(2, ROWS, n_modalities, dtype=torch.bool),
        torch.ones(2, ROWS, dtype=torch.bool),
    )
    names = ["history", "parts", "present", "mask"]
    encoder = UserEncoder(router, int(snapshot.parameter("members")[0]))
    return to_onnx(encoder, example, names, ["vector", "logits"], padded={0, 1, 2, 3})
