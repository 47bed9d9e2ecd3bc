"""Image encoders from timm and torchvision, with the library's weights or a local file of them.

A classifier is exported without its classifier: one pooled vector per picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import torch

from model_store.encoders import EncoderDescription, EncoderSource, ImageInput, find_bundle, write_bundle
from training.encoders import fingerprints
from training.encoders.onnx_export import OUTPUT, export_module
from training.encoders.optional import load_module
from training.errors import EncoderImportError

INSTALL: Final = "pip install 'magnet-rec[vision]'"


def import_timm(root: Path, model_name: str, weights: Path | None) -> Path:
    """Make a timm model an encoder in the store at `root` and return its folder.

    `weights` is a local .safetensors file or state dictionary; without it timm fetches its own. Raises
    EncoderImportError.
    """
    timm = load_module("timm", INSTALL)
    try:
        model = timm.create_model(model_name, pretrained=weights is None, num_classes=0).eval()
        config = timm.data.resolve_model_data_config(model)
    except Exception as error:  # an unknown name, no network, a broken cache: each of another class
        raise EncoderImportError(f"timm cannot load {model_name!r}: {error}"[:500]) from error
    if weights is not None:
        head = model.pretrained_cfg.get("classifier") or ()
        load_weights(model, weights, [head] if isinstance(head, str) else head)
    return _write(root, "timm", model_name, weights, model, timm_preprocessing(config))


def timm_preprocessing(config: Mapping[str, Any]) -> ImageInput:
    """What timm's evaluation transform of this data configuration does."""
    _, height, width = config["input_size"]
    resize = {"center": "cover", "squash": "squash", "border": "contain"}[config.get("crop_mode", "center")]
    share = config["crop_pct"]
    return ImageInput.model_validate(
        {
            "input": "pixels",
            "resize": resize,
            "resize_to": (int(height / share), int(width / share)),
            "filter": config["interpolation"],
            "crop_to": (height, width),
            "mean": config["mean"],
            "std": config["std"],
            "layout": "NCHW",
        }
    )


def import_torchvision(root: Path, model_name: str, weights: Path | None) -> Path:
    """Make a torchvision classification model an encoder in the store at `root` and return its folder.

    `weights` is a local .safetensors file or state dictionary; without it torchvision fetches its default ones. The
    preprocessing is that of the default weights either way. Raises EncoderImportError.
    """
    torchvision = load_module("torchvision", INSTALL)
    try:
        preset = torchvision.models.get_model_weights(model_name).DEFAULT
        model = torchvision.models.get_model(model_name, weights=preset if weights is None else None).eval()
        preprocessing = torchvision_preprocessing(preset.transforms())
    except Exception as error:  # as in import_timm
        raise EncoderImportError(f"torchvision cannot load {model_name!r}: {error}"[:500]) from error
    head = remove_classifier(model)
    if weights is not None:
        load_weights(model, weights, [head])
    return _write(root, "torchvision", model_name, weights, model, preprocessing)


def torchvision_preprocessing(transforms: Any) -> ImageInput:
    """What torchvision's classification preset does: the shorter side to `resize_size`, the middle of `crop_size`."""
    side, crop = transforms.resize_size[0], transforms.crop_size[0]
    return ImageInput.model_validate(
        {
            "input": "pixels",
            "resize": "cover",
            "resize_to": (side, side),
            "filter": transforms.interpolation.value,
            "crop_to": (crop, crop),
            "mean": tuple(transforms.mean),
            "std": tuple(transforms.std),
            "layout": "NCHW",
        }
    )


def remove_classifier(model: torch.nn.Module) -> str:
    """Replace the last linear layer, which in every torchvision classifier is the one that names classes; its name."""
    linear = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    if not linear:
        raise EncoderImportError("expected a classifier that ends in a linear layer, found no linear layer")
    head: str = linear[-1]
    parent, _, last = head.rpartition(".")
    setattr(model.get_submodule(parent), last, torch.nn.Identity())
    return head


def load_weights(model: torch.nn.Module, file: Path, ignored: Iterable[str]) -> None:
    """Load a state dictionary, all of it but what belongs to the modules `ignored`; raises EncoderImportError."""
    try:
        if file.suffix == ".safetensors":
            state: Any = load_module("safetensors.torch", INSTALL).load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
        for wrapper in ("state_dict", "model"):
            state = state.get(wrapper, state)
        prefixes = tuple(f"{name}." for name in ignored)
        model.load_state_dict({key: value for key, value in state.items() if not key.startswith(prefixes)})
    except Exception as error:  # unpickling, safetensors and torch each raise their own
        raise EncoderImportError(f"{file}: expected this model's weights: {error}"[:1000]) from error


def _write(
    root: Path, loader: str, model_name: str, weights: Path | None, model: torch.nn.Module, image: ImageInput
) -> Path:
    reference = model_name if weights is None else f"{model_name}@{weights.name}"
    fingerprint = fingerprints.of_module(model, image.model_dump_json())
    source = EncoderSource(loader=loader, reference=reference, fingerprint=fingerprint)
    if (known := find_bundle(root, source)) is not None:
        return known
    generator = torch.Generator().manual_seed(0)
    examples = [(torch.randn(n, 3, *image.crop_to, generator=generator),) for n in (2, 1)]
    dynamic = [{0: torch.export.Dim("n", min=1, max=2**16)}]
    graph, width = export_module(model.float(), examples, [image.input], dynamic)
    description = EncoderDescription(
        kind="image", name=reference, width=width, output=OUTPUT, normalise="l2", source=source, image=image
    )
    return write_bundle(root, description, graph, None)
