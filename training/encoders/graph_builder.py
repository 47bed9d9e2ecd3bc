"""Writing small ONNX graphs by hand, one call per operator."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper

from training.encoders.onnx_export import IR_VERSION, OPSET, to_bytes


class GraphBuilder:
    """A graph of one float32 input (n, *shape) and one float32 output (n, width); nodes are called by name."""

    def __init__(self, input_name: str, shape: tuple[int | None, ...]) -> None:
        self._input = helper.make_tensor_value_info(input_name, TensorProto.FLOAT, ["n", *shape])
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add an operator with one output and return its name."""
        return self._add(kind, inputs, 1, attributes)[0]

    def split(self, node: str, parts: int, axis: int) -> list[str]:
        """Cut a node into equal parts."""
        return self._add("Split", (node,), parts, {"axis": axis, "num_outputs": parts})

    def constant(self, value: ArrayLike) -> str:
        """Add float32 numbers."""
        return self._constant(np.asarray(value, np.float32))

    def integers(self, *values: int) -> str:
        """Add a vector of int64, as shapes and axes are."""
        return self._constant(np.array(values, np.int64))

    def finish(self, node: str, name: str, width: int) -> bytes:
        """Name the output and serialise, checked."""
        self._nodes.append(helper.make_node("Identity", [node], [name]))
        output = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width])
        graph = helper.make_graph(self._nodes, name, [self._input], [output], self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(model, full_check=True)
        return to_bytes(model)

    def _add(self, kind: str, inputs: tuple[str, ...], outputs: int, attributes: dict[str, Any]) -> list[str]:
        names = [f"{kind}_{len(self._nodes)}_{index}" for index in range(outputs)]
        self._nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names

    def _constant(self, array: NDArray[Any]) -> str:
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(array, name))
        return name
