"""A small `item_encoder.onnx` for the tiny snapshot, with the inputs and outputs of the real one.

Axes: `B` batch, `k` neighbours, `M` modalities, `D` width, `E` experts, `W` residual width, `d` feature width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


def tiny_item_encoder(
    modalities: Sequence[str], feature_width: int, *, width: int, n_experts: int, residual_width: int, seed: int = 0
) -> bytes:
    """Parts: the neighbours' weighted mean plus a random map of the own features; experts and logits are constant."""
    rng = np.random.default_rng(seed)
    content = list(modalities[1:])
    n = len(modalities)
    constants: dict[str, NDArray[np.float32] | NDArray[np.int64]] = {
        "two": np.array([2], np.int64),
        "one": np.array([1], np.int64),
        "three": np.array([3], np.int64),
        "no_behaviour": np.zeros((1, 1, width), np.float32),
        "some_experts": rng.normal(0, 0.3, (1, n_experts, residual_width)).astype(np.float32),
        "some_logits": rng.normal(0, 0.5, (1, n_experts)).astype(np.float32),
        "drop_present": np.zeros((n, n_experts), np.float32),
        **{f"map_{m}": rng.normal(0, 0.5, (feature_width, width)).astype(np.float32) for m in content},
    }
    node = helper.make_node
    nodes = [
        node("Unsqueeze", ["neighbour_weights", "two"], ["w2"]),
        node("Unsqueeze", ["w2", "three"], ["w3"]),
        node("Mul", ["neighbour_parts", "w3"], ["weighted_parts"]),
        node("ReduceSum", ["weighted_parts", "one"], ["inferred"], keepdims=0),
        node("Mul", ["neighbour_history", "w2"], ["weighted_history"]),
        node("ReduceSum", ["weighted_history", "one"], ["history"], keepdims=0),
        *(node("MatMul", [f"features_{m}", f"map_{m}"], [f"own_{m}"]) for m in content),
        *(node("Unsqueeze", [f"own_{m}", "one"], [f"column_{m}"]) for m in content),
        node("Concat", ["no_behaviour", *(f"column_{m}" for m in content)], ["own"], axis=1),
        node("Add", ["inferred", "own"], ["parts"]),
        node("Identity", ["some_experts"], ["experts"]),
        node("Cast", ["present"], ["present_float"], to=TensorProto.FLOAT),
        node("MatMul", ["present_float", "drop_present"], ["nothing"]),
        node("Add", ["nothing", "some_logits"], ["logits"]),
    ]
    real = TensorProto.FLOAT
    inputs = [
        *(helper.make_tensor_value_info(f"features_{m}", real, ["B", feature_width]) for m in content),
        helper.make_tensor_value_info("present", TensorProto.BOOL, ["B", n]),
        helper.make_tensor_value_info("neighbour_parts", real, ["B", "k", n, width]),
        helper.make_tensor_value_info("neighbour_history", real, ["B", "k", width]),
        helper.make_tensor_value_info("neighbour_weights", real, ["B", "k"]),
    ]
    outputs = [
        helper.make_tensor_value_info("parts", real, ["B", n, width]),
        helper.make_tensor_value_info("history", real, ["B", width]),
        helper.make_tensor_value_info("experts", real, ["B", n_experts, residual_width]),
        helper.make_tensor_value_info("logits", real, ["B", n_experts]),
    ]
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "item_encoder", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    content_bytes: bytes = model.SerializeToString()
    return content_bytes
