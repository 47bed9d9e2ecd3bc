"""Bundles: named by their content, complete or absent, refused when altered."""

import json
import subprocess
from pathlib import Path

import pytest

from model_store.encoders import (
    ContentEncoder,
    bundle_path,
    find_bundle,
    list_bundles,
    read_description,
    write_bundle,
)
from model_store.errors import EncoderError
from tests.support.encoders import mean_colour, picture, plain


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path, *mean_colour(), None)


def alter(file: Path, content: bytes) -> None:
    file.chmod(0o644)
    file.write_bytes(content)


def test_the_name_is_what_sha256sum_says(bundle: Path) -> None:
    command = "sha256sum encoder.json encoder.onnx | sha256sum"
    said = subprocess.run(command, shell=True, cwd=bundle, capture_output=True, text=True, check=True).stdout
    assert said.split()[0] == bundle.name


def test_what_is_written_is_read_back_and_found(bundle: Path, tmp_path: Path) -> None:
    description, _ = mean_colour()
    assert read_description(bundle) == description
    assert list(list_bundles(tmp_path)) == [(bundle.name, description)]
    assert bundle_path(tmp_path, bundle.name) == bundle
    assert find_bundle(tmp_path, description.source) == bundle
    assert find_bundle(tmp_path, description.source.model_copy(update={"fingerprint": "1" * 64})) is None


def test_writing_again_changes_nothing(bundle: Path, tmp_path: Path) -> None:
    before = (bundle / "encoder.onnx").stat().st_mtime_ns
    assert write_bundle(tmp_path, *mean_colour(), None) == bundle
    assert (bundle / "encoder.onnx").stat().st_mtime_ns == before
    assert [path.name for path in (tmp_path / "encoders").iterdir()] == [bundle.name]


def test_files_are_read_only(bundle: Path) -> None:
    assert all(not file.stat().st_mode & 0o222 for file in bundle.iterdir())


@pytest.mark.parametrize("file", ["encoder.json", "encoder.onnx"])
def test_an_altered_file_is_refused(bundle: Path, file: str) -> None:
    content = bytearray((bundle / file).read_bytes())
    content[len(content) // 2] ^= 1
    alter(bundle / file, bytes(content))
    with pytest.raises(EncoderError, match="was altered"):
        ContentEncoder.open(bundle)


def test_an_added_or_removed_file_is_refused(bundle: Path) -> None:
    extra = bundle / "notes.txt"
    extra.write_text("hello")
    with pytest.raises(EncoderError, match="was altered"):
        ContentEncoder.open(bundle)
    extra.unlink()
    (bundle / "encoder.onnx").unlink()
    with pytest.raises(EncoderError, match="was altered"):
        ContentEncoder.open(bundle)


def test_an_altered_bundle_is_not_taken_for_the_one_to_write(bundle: Path, tmp_path: Path) -> None:
    alter(bundle / "encoder.onnx", b"")
    with pytest.raises(EncoderError, match="was altered"):
        write_bundle(tmp_path, *mean_colour(), None)


@pytest.mark.parametrize("name", ["", "..", "0" * 64, "../encoders", "x" * 64])
def test_an_unknown_hash_is_an_error(bundle: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(EncoderError, match="expected an encoder"):
        bundle_path(tmp_path, name)


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"format_version": 2}, "format_version"),
        ({"colour": "red"}, "colour"),
        ({"kind": "text"}, "describes its text input"),
        ({"width": 0}, "width"),
    ],
)
def test_a_description_that_cannot_be_trusted_says_where(bundle: Path, changes: dict[str, object], place: str) -> None:
    file = bundle / "encoder.json"
    alter(file, json.dumps(json.loads(file.read_bytes()) | changes).encode())
    with pytest.raises(EncoderError, match=place):
        read_description(bundle)


def test_a_crop_larger_than_the_picture_is_refused(bundle: Path) -> None:
    file = bundle / "encoder.json"
    content = json.loads(file.read_bytes())
    content["image"]["crop_to"] = [17, 8]
    alter(file, json.dumps(content).encode())
    with pytest.raises(EncoderError, match="must fit"):
        read_description(bundle)


def test_a_text_encoder_needs_a_tokenizer_and_a_picture_encoder_none(tmp_path: Path) -> None:
    description, graph = mean_colour()
    with pytest.raises(EncoderError, match="tokenizer"):
        write_bundle(tmp_path, description, graph, "{}")
    assert not (tmp_path / "encoders").exists()


def test_a_graph_that_is_none_is_refused(tmp_path: Path) -> None:
    description, _ = mean_colour()
    with pytest.raises(EncoderError, match="ONNX graph"):
        ContentEncoder.open(write_bundle(tmp_path, description, b"no graph", None))


def test_a_graph_of_another_width_is_caught_when_it_runs(tmp_path: Path) -> None:
    description, graph = mean_colour()
    path = write_bundle(tmp_path, description.model_copy(update={"width": 4}), graph, None)
    with pytest.raises(EncoderError, match=r"expected float32 of shape \(1, 4\)"):
        ContentEncoder.open(path).encode_images([picture(plain(1, 2, 3))])


def test_numbers_that_are_not_finite_are_an_error(tmp_path: Path) -> None:
    tiny = 1e-45  # the smallest number in single precision; dividing by it gives infinity
    path = write_bundle(tmp_path, *mean_colour(std=(tiny, tiny, tiny)), None)
    with pytest.raises(EncoderError, match="finite"), pytest.warns(RuntimeWarning):
        ContentEncoder.open(path).encode_images([picture(plain(200, 200, 200))])


def test_an_absent_provider_is_named(bundle: Path) -> None:
    with pytest.raises(EncoderError, match="NoSuchProvider"):
        ContentEncoder.open(bundle, providers=["NoSuchProvider"])
