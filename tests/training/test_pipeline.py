"""The stages' input: which features are made, and which are taken as they lie in the dataset."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.encoders import encoder_store, picture, plain
from training import pipeline
from training.config import RunConfig
from training.data.dataset import Dataset
from training.data.features import FeatureMatrix
from training.encoders.extract import extract_features
from training.errors import DatasetError, TrainingError
from training.fit.run import Run

ITEMS = ("a", "b", "c", "d")
COLOURS = {"a": (255, 0, 0), "b": (0, 0, 255), "c": (0, 255, 0), "d": (9, 9, 9)}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Four items with titles and pictures."""
    folder = tmp_path / "shop"
    folder.mkdir()
    write_items(folder, ITEMS)
    pairs = [(user, item) for user in range(6) for item in ITEMS]
    (folder / "interactions.csv").write_text("user_id,item_id\n" + "".join(f"u{u},{i}\n" for u, i in pairs))
    for item, colour in COLOURS.items():
        (folder / f"{item}.png").write_bytes(picture(plain(*colour)))
    return folder


def write_items(folder: Path, item_ids: tuple[str, ...]) -> None:
    (folder / "items.csv").write_text("item_id,title,image\n" + "".join(f"{i},Thing {i},{i}.png\n" for i in item_ids))


def prepared(data: Path, tmp_path: Path, **config: Any) -> Dataset:
    given = RunConfig(data=data, model="ease", **config)
    return pipeline.prepare(given, Run(tmp_path / "run"), encoder_store()).dataset


@pytest.mark.parametrize(
    ("own", "config", "asked"),
    [
        ((), {}, {"text": "default", "image": "default"}),
        (("acoustic",), {}, {"text": "default", "image": "default"}),
        (("acoustic",), {"text": "none"}, {"text": None, "image": "default"}),
        (("image",), {}, {"text": "default", "image": None}),
        (("acoustic", "text"), {}, {"text": None, "image": "default"}),
        (("acoustic", "text"), {"image": "none"}, None),
        (("image", "text"), {}, None),
    ],
)
@pytest.mark.parametrize("elsewhere", [False, True])
def test_what_no_array_is_there_for_is_made(
    own: tuple[str, ...],
    config: dict[str, Any],
    asked: dict[str, str | None] | None,
    elsewhere: bool,
    shop: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    features = tmp_path / "features"
    features.mkdir()
    for stem in own:
        np.save((features if elsewhere else shop) / f"{stem}_feat.npy", np.ones((4, 2), np.float32))
    calls: list[dict[str, Any]] = []

    def made(*_: object, text: str | None, image: str | None, out: Path, **__: object) -> dict[str, FeatureMatrix]:
        calls.append({"text": text, "image": image})
        assert out == (features if elsewhere else tmp_path / "run" / "features")
        modalities = {"textual": text, "visual": image}
        matrix = FeatureMatrix("", np.ones((4, 3), np.float32), np.ones(4, np.bool_))
        return {name: matrix for name, encoder in modalities.items() if encoder}

    monkeypatch.setattr(pipeline, "extract_features", made)
    dataset = prepared(shop, tmp_path, **config, features=features if elsewhere else None)
    assert calls == ([] if asked is None else [asked])
    names = {"image": "visual", "text": "textual"}
    there = {names.get(stem, stem) for stem in own} | {names[kind] for kind, name in (asked or {}).items() if name}
    assert list(dataset.features) == sorted(there)


def test_pictures_are_encoded_beside_an_array_of_ones_own(shop: Path, tmp_path: Path) -> None:
    np.save(shop / "acoustic_feat.npy", np.ones((4, 2), np.float32))
    dataset = prepared(shop, tmp_path, text="none")
    assert {name: matrix.values.shape[1] for name, matrix in dataset.features.items()} == {"acoustic": 2, "visual": 290}
    assert dataset.features["visual"].present.all()
    assert (tmp_path / "run" / "features" / "image_feat.json").is_file()
    left_out = prepared(shop, tmp_path, text="none", without=("visual",))
    assert list(left_out.features) == ["acoustic"]


@pytest.mark.parametrize(("asked", "told"), [({"text": "none"}, True), ({"image": "none"}, False), ({}, False)])
def test_an_encoder_that_an_array_makes_useless_is_told(
    asked: dict[str, Any], told: bool, shop: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    np.save(shop / "text_feat.npy", np.ones((4, 2), np.float32))
    assert "textual" in prepared(shop, tmp_path, **{"image": "none"} | asked).features
    warned = [record.getMessage() for record in caplog.records if "has no effect" in record.getMessage()]
    assert [line.partition(":")[0] for line in warned] == (['text = "none" has no effect'] if told else [])


def test_without_texts_and_pictures_arrays_stay_alone(tmp_path: Path) -> None:
    data = tmp_path / "mmrec"
    data.mkdir()
    pairs = "".join(f"{user}\t{item}\n" for user in range(6) for item in range(4))
    (data / "mmrec.inter").write_text(f"userID\titemID\n{pairs}")
    np.save(data / "image_feat.npy", np.ones((4, 2), np.float32))
    assert list(prepared(data, tmp_path).features) == ["visual"]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("ratings", "told"), [([5, 4, 4, 1], None), ([900, 3, 2, 40], "3 of 4 ratings are below 630 .* 1 of 2 users")]
)
def test_a_threshold_that_nobody_asked_for_is_told_where_it_drops_most(
    ratings: list[int], told: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = [f"u{row // 2},i{row},{rating}\n" for row, rating in enumerate(ratings)]
    (tmp_path / "interactions.csv").write_text("user_id,item_id,rating\n" + "".join(lines))
    pipeline.read(RunConfig(data=tmp_path, model="ease"))
    warned = [record.getMessage() for record in caplog.records if "ratings are below" in record.getMessage()]
    assert len(warned) == (told is not None)
    assert told is None or re.search(told, warned[0])
    caplog.clear()
    pipeline.read(RunConfig(data=tmp_path, model="ease", min_rating=2))
    assert not caplog.records


def test_features_made_of_another_order_of_items_are_refused(shop: Path, tmp_path: Path) -> None:
    made, config = tmp_path / "made", {"text": "none", "features": tmp_path / "made"}

    def make() -> None:
        extract_features(pipeline.read(RunConfig(data=shop)), encoder_store(), text=None, image="default", out=made)

    make()
    before = prepared(shop, tmp_path, **config).features["visual"].values
    write_items(shop, ITEMS[::-1])
    with pytest.raises(DatasetError, match=rf"4 of 4 rows.*'d'.*`magnet-train features --data {shop} --out {made}`"):
        prepared(shop, tmp_path, **config)
    make()
    np.testing.assert_array_equal(prepared(shop, tmp_path, **config).features["visual"].values, before[::-1])


@pytest.mark.parametrize(
    ("name", "devices", "said"),
    [
        ("cuda", 0, "torch finds none"),
        ("cuda:0", 0, "torch finds none"),
        ("cuda:2", 2, r"cuda:0 to cuda:1, found 'cuda:2'"),
        ("mps", 1, "auto, cpu and cuda, found 'mps'"),
        ("meta", 1, "auto, cpu and cuda, found 'meta'"),
        ("abacus", 1, "auto, cpu and cuda, found 'abacus'"),
    ],
)
def test_a_device_that_is_not_there_is_refused(
    name: str, devices: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: devices > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    with pytest.raises(TrainingError, match=said):
        pipeline.device_of(name)


@pytest.mark.parametrize("name", ["cpu", "cuda", "cuda:1"])
def test_a_device_that_is_there_is_taken(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pipeline.device_of(name) == torch.device(name)
