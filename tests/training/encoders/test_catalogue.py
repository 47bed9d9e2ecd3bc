"""What a user may write for an encoder, graph files among it."""

import json
from pathlib import Path
from typing import Any

import pytest

from model_store.encoders import ContentEncoder, write_bundle
from tests.support.encoders import encoder_store, filter_bank, mean_colour, minilm, picture, plain
from training.encoders.catalogue import encoder_for, import_encoder
from training.encoders.graph_builder import GraphBuilder
from training.errors import EncoderImportError


def graph_file(folder: Path, **changes: Any) -> Path:
    description, graph = mean_colour()
    assert description.image is not None
    file = folder / "mean.onnx"
    file.write_bytes(graph)
    spec = {"output": "vectors", "normalise": "none", "image": description.image.model_dump(mode="json")}
    file.with_suffix(".json").write_text(json.dumps(spec | changes))
    return file


def test_defaults_are_made_once_per_store() -> None:
    assert encoder_for(encoder_store(), "default", "text") == minilm()
    assert encoder_for(encoder_store(), "default", "image") == filter_bank()
    assert import_encoder(encoder_store(), "filter-bank") == filter_bank()


def test_an_encoder_in_the_store_goes_by_its_hash(tmp_path: Path) -> None:
    path = write_bundle(tmp_path, *mean_colour(), None)
    assert encoder_for(tmp_path, path.name, "image") == path
    assert encoder_for(tmp_path, path.name[:8], "image") == path
    with pytest.raises(EncoderImportError, match="expected one encoder"):
        encoder_for(tmp_path, "00000000", "image")


def test_pictures_do_not_go_to_a_text_encoder(tmp_path: Path) -> None:
    path = write_bundle(tmp_path, *mean_colour(), None)
    with pytest.raises(EncoderImportError, match="expected an encoder of kind 'text'"):
        encoder_for(tmp_path, path.name, "text")


def test_a_graph_file_becomes_an_encoder(tmp_path: Path) -> None:
    path = import_encoder(tmp_path, str(graph_file(tmp_path)))
    assert import_encoder(tmp_path, str(tmp_path / "mean.onnx")) == path
    encoder = ContentEncoder.open(path)
    assert (encoder.kind, encoder.name, encoder.width) == ("image", "mean", 3)
    assert encoder.encode_images([picture(plain(255, 0, 51))])[0].round(4).tolist() == [[1, 0, pytest.approx(0.2)]]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"output": "embedding"}, "does not run as its .json says"),
        ({"image": {}}, r"mean\.json: image\.input: Field required"),
        ({"colour": 1}, r"mean\.json: colour"),
    ],
)
def test_a_graph_file_described_wrongly_is_refused(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(EncoderImportError, match=complaint):
        import_encoder(tmp_path, str(graph_file(tmp_path, **changes)))
    assert not (tmp_path / "encoders").exists()


def test_a_graph_file_whose_rows_mix_is_refused(tmp_path: Path) -> None:
    file = graph_file(tmp_path)
    g = GraphBuilder("pixels", (3, None, None))
    means = g.op("Flatten", g.op("GlobalAveragePool", "pixels"))
    centred = g.op("Sub", means, g.op("ReduceMean", means, g.integers(0), keepdims=1))
    file.write_bytes(g.finish(centred, "vectors", 3))
    with pytest.raises(EncoderImportError, match="independent of their batch"):
        import_encoder(tmp_path, str(file))


@pytest.mark.parametrize("content", [b"", b"no graph"])
def test_a_file_that_is_no_graph_is_refused(tmp_path: Path, content: bytes) -> None:
    file = graph_file(tmp_path)
    file.write_bytes(content)
    with pytest.raises(EncoderImportError):
        import_encoder(tmp_path, str(file))


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(EncoderImportError, match=r"gone\.onnx"):
        import_encoder(tmp_path, str(tmp_path / "gone.onnx"))
    with pytest.raises(EncoderImportError, match=r"gone\.pt"):
        import_encoder(tmp_path, f"timm:resnet18@{tmp_path / 'gone.pt'}")
