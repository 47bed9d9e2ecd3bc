"""The export notices when ONNX does not say what torch says."""

import onnx
import pytest
import torch
from onnx import numpy_helper

from training.encoders.onnx_export import check_parity, export_module
from training.errors import EncoderImportError

EXAMPLE = (torch.linspace(-1, 1, 6).reshape(2, 3),)
BATCH = [{0: torch.export.Dim("n", min=1, max=64)}]


def linear() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Linear(3, 4).eval()


def test_a_graph_that_agrees_passes_and_one_that_was_changed_does_not() -> None:
    module = linear()
    graph, width = export_module(module, [EXAMPLE, (torch.ones(5, 3),)], ["x"], BATCH)
    assert width == 4
    model = onnx.load_from_string(graph)
    bias = next(value for value in model.graph.initializer if list(value.dims) == [4])
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + 0.01, bias.name))
    with pytest.raises(EncoderImportError, match=r"within 0\.0001 of torch, found 0\.01"):
        check_parity(module, model.SerializeToString(), [EXAMPLE], ["x"])


def test_what_cannot_be_traced_is_an_error() -> None:
    class Branching(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum().item() > 0 else x + x

    with pytest.raises(EncoderImportError, match="torch cannot export this model"):
        export_module(Branching(), [EXAMPLE], ["x"], BATCH)


def test_an_output_that_is_no_vector_per_row_is_an_error() -> None:
    class Stacked(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, None]

    with pytest.raises(EncoderImportError, match="expected one vector per row"):
        export_module(Stacked(), [EXAMPLE], ["x"], BATCH)
