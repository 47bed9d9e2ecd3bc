"""Image encoders from classifiers: exported without the classifier, with the library's own preprocessing."""

import importlib
import sys
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from model_store.encoders import ContentEncoder
from model_store.encoders.inputs import picture_input
from tests.support.encoders import picture
from training.encoders import vision
from training.encoders.vision import load_weights, remove_classifier, timm_preprocessing, torchvision_preprocessing
from training.errors import EncoderImportError

TIMM_CONFIG = {
    "input_size": (3, 24, 24),
    "interpolation": "bicubic",
    "mean": (0.5, 0.4, 0.3),
    "std": (0.2, 0.3, 0.4),
    "crop_pct": 0.75,
    "crop_mode": "center",
}


def classifier(n_classes: int = 5) -> torch.nn.Sequential:
    torch.manual_seed(0)
    layers: list[tuple[str, torch.nn.Module]] = [
        ("stem", torch.nn.Conv2d(3, 6, 3, stride=2)),
        ("norm", torch.nn.BatchNorm2d(6)),
        ("act", torch.nn.ReLU()),
        ("pool", torch.nn.AdaptiveAvgPool2d(1)),
        ("flat", torch.nn.Flatten()),
        ("head", torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Linear(6, n_classes))),
    ]
    return torch.nn.Sequential(OrderedDict(layers)).eval()


def test_timm_preprocessing_follows_its_data_configuration() -> None:
    spec = timm_preprocessing(TIMM_CONFIG)
    assert (spec.resize, spec.resize_to, spec.crop_to, spec.filter) == ("cover", (32, 32), (24, 24), "bicubic")
    assert (spec.mean, spec.std) == ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


def test_torchvision_preprocessing_follows_its_preset() -> None:
    preset = SimpleNamespace(
        resize_size=[256],
        crop_size=[224],
        interpolation=SimpleNamespace(value="bilinear"),
        mean=[0.1] * 3,
        std=[1.0] * 3,
    )
    spec = torchvision_preprocessing(preset)
    assert (spec.resize, spec.resize_to, spec.crop_to, spec.filter) == ("cover", (256, 256), (224, 224), "bilinear")


def test_the_last_linear_layer_goes() -> None:
    model = classifier()
    assert remove_classifier(model) == "head.1"
    assert model(torch.zeros(2, 3, 24, 24)).shape == (2, 6)
    with pytest.raises(EncoderImportError, match="no linear layer"):
        remove_classifier(torch.nn.ReLU())


@pytest.mark.parametrize("form", ["plain", "wrapped", "safetensors"])
def test_local_weights_are_loaded_but_for_the_classifier(tmp_path: Path, form: str) -> None:
    trained = classifier(n_classes=9)
    for parameter in trained.parameters():
        parameter.data += 1
    file = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pt")
    if form == "safetensors":
        save_file(trained.state_dict(), file)
    else:
        torch.save({"state_dict": trained.state_dict()} if form == "wrapped" else trained.state_dict(), file)
    model = classifier()
    load_weights(model, file, [remove_classifier(model)])
    torch.testing.assert_close(model.state_dict()["stem.weight"], trained.state_dict()["stem.weight"])


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "w.pt"
    torch.save({"other.weight": torch.zeros(1)}, file)
    with pytest.raises(EncoderImportError, match=r"w\.pt: expected this model's weights"):
        load_weights(classifier(), file, [])
    torch.save({"weights": SimpleNamespace()}, file)  # needs unpickling of arbitrary classes
    with pytest.raises(EncoderImportError, match=r"w\.pt: expected this model's weights"):
        load_weights(classifier(), file, [])


def test_an_exported_model_is_the_torch_model(tmp_path: Path) -> None:
    model = classifier()
    remove_classifier(model)
    spec = timm_preprocessing(TIMM_CONFIG)
    path = vision._write(tmp_path, "timm", "tiny", None, model, spec)
    assert vision._write(tmp_path, "timm", "tiny", None, model, spec) == path
    encoder = ContentEncoder.open(path)
    assert (encoder.kind, encoder.name, encoder.width) == ("image", "tiny", 6)
    images = [picture(np.random.default_rng(seed).integers(0, 256, (40, 30 + seed, 3))) for seed in range(3)]
    found, _ = encoder.encode_images(images)
    with torch.no_grad():
        expected = model(torch.from_numpy(np.stack([picture_input(image, spec) for image in images])))
    np.testing.assert_allclose(found, torch.nn.functional.normalize(expected), atol=1e-5)


def test_a_missing_library_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    for make in (vision.import_timm, vision.import_torchvision):
        with pytest.raises(EncoderImportError, match=r"magnet-rec\[vision\]"):
            make(tmp_path, "resnet18", None)


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_a_model_by_name_with_local_weights(tmp_path: Path, library: str) -> None:
    try:
        module = importlib.import_module(library)
    except Exception as error:  # torchvision built for another torch fails with RuntimeError
        pytest.skip(f"{library} cannot be used here ({error}): pip install 'magnet-rec[vision]'")
    if library == "timm":
        model, make = module.create_model("resnet18", pretrained=False), vision.import_timm
    else:
        model, make = module.models.get_model("resnet18", weights=None), vision.import_torchvision
    torch.save(model.state_dict(), tmp_path / "w.pt")
    encoder = ContentEncoder.open(make(tmp_path, "resnet18", tmp_path / "w.pt"))
    assert (encoder.width, encoder.name) == (512, "resnet18@w.pt")
