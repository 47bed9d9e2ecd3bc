"""From a dataset directory to feature arrays, only what is new being encoded."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from model_store.encoders import ContentEncoder
from tests.support.encoders import encoder_store, filter_bank, minilm, picture, plain
from training.data.dataset import load_dataset
from training.data.features import find_features
from training.encoders import extract as extraction
from training.encoders.commands import encoder_group, features_command
from training.encoders.extract import extract_features
from training.errors import DatasetError

ITEMS = [
    ("a", "Red shirt", "clothes|red", "Soft cotton", "a.png"),
    ("b", "Blue shirt", "", "", "b.png"),
    ("c", "", "", "", ""),
    ("d", "Red shirt", "clothes|red", "Soft cotton", "d.png"),
]


def write_items(folder: Path, rows: list[tuple[str, str, str, str, str]]) -> None:
    lines = [",".join(row) for row in [("item_id", "title", "categories", "description", "image"), *rows]]
    (folder / "items.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    write_items(folder, ITEMS)
    pairs = [("u", "a"), ("u", "b"), ("v", "c"), ("v", "d")]
    (folder / "interactions.csv").write_text("user_id,item_id\n" + "".join(f"{u},{i}\n" for u, i in pairs))
    (folder / "a.png").write_bytes(picture(plain(255, 0, 0)))
    (folder / "b.png").write_bytes(picture(plain(0, 0, 255)))
    (folder / "d.png").write_bytes(picture(plain(255, 0, 0))[:50])
    return folder


def extract(folder: Path, **changes: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {"text": None, "image": "default", "out": folder} | changes
    return dict(extract_features(load_dataset(folder, made_features=False), encoder_store(), **arguments))


def sidecar(folder: Path, stem: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / f"{stem}_feat.json").read_text())
    return content


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures each call to the encoder got."""
    counts: list[int] = []
    original = ContentEncoder.encode_images

    def counted(self: ContentEncoder, images: Any, **options: Any) -> Any:
        counts.append(len(images))
        return original(self, images, **options)

    monkeypatch.setattr(ContentEncoder, "encode_images", counted)
    return counts


def test_features_are_what_the_encoder_says_and_load_with_the_dataset(folder: Path) -> None:
    made = extract(folder, text="default")
    assert made.keys() == {"textual", "visual"}
    loaded = load_dataset(folder)
    texts, _ = ContentEncoder.open(minilm()).encode_texts(
        ["Red shirt. clothes, red. Soft cotton.", "Blue shirt.", None, "Red shirt. clothes, red. Soft cotton."]
    )
    np.testing.assert_allclose(loaded.features["textual"].values, texts, atol=1e-5)
    pictures, _ = ContentEncoder.open(filter_bank()).encode_images([folder / "a.png", folder / "b.png", None, None])
    np.testing.assert_allclose(loaded.features["visual"].values, pictures, atol=1e-5)
    for name, present, encoder in (
        ("textual", [True, True, False, True], minilm()),
        ("visual", [True, True, False, False], filter_bank()),
    ):
        assert loaded.features[name].present.tolist() == present == made[name].present.tolist()
        assert loaded.features[name].encoder == encoder.name == made[name].encoder
        np.testing.assert_array_equal(loaded.features[name].values, made[name].values)


def test_an_unreadable_picture_is_counted_and_named(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        extract(folder)
    assert "1 of 4 items" in caplog.text
    assert "d.png" in caplog.text
    about = sidecar(folder, "image")
    assert (about["missing"], about["n_unreadable"], list(about["unreadable"])) == (2, 1, ["d"])
    assert (about["encoder"], about["encoder_name"], about["items"]) == (filter_bank().name, "filter-bank", 4)


def test_only_what_is_new_is_encoded(folder: Path, encoded: list[int]) -> None:
    first = extract(folder)["visual"].values
    np.testing.assert_array_equal(extract(folder)["visual"].values, first)
    # b changes its picture, e is new and comes first, f shows what a shows
    (folder / "b.png").write_bytes(picture(plain(0, 255, 0)))
    (folder / "e.png").write_bytes(picture(plain(9, 9, 9)))
    write_items(folder, [("e", "E", "", "", "e.png"), *ITEMS[:3], ("f", "F", "", "", "a.png"), ITEMS[3]])
    third = extract(folder)["visual"]
    np.testing.assert_array_equal(third.values[[1, 4]], first[[0, 0]])
    assert third.present.tolist() == [True, True, True, False, True, False]
    assert np.abs(third.values[2] - first[1]).max() > 0.1
    # a, b and the unreadable d; only d again; e, b and d
    assert encoded == [3, 1, 3]
    assert sidecar(folder, "image")["reused"] == 2


def check(folder: Path) -> None:
    extraction.check_made_features(load_dataset(folder), find_features(folder), data=folder)


def swap_two(folder: Path) -> None:
    write_items(folder, [ITEMS[1], ITEMS[0], *ITEMS[2:]])


def change_a_picture(folder: Path) -> None:
    (folder / "b.png").write_bytes(picture(plain(0, 255, 0)))


def take_a_picture_away(folder: Path) -> None:
    (folder / "a.png").unlink()


def add_a_picture(folder: Path) -> None:
    (folder / "c.png").write_bytes(picture(plain(1, 2, 3)))
    write_items(folder, [*ITEMS[:2], ("c", "", "", "", "c.png"), ITEMS[3]])


def damage_the_record(folder: Path) -> None:
    np.save(folder / "image_feat.inputs.npy", np.zeros((4, 16), np.uint8))


@pytest.mark.parametrize(
    ("change", "rows", "first"),
    [(swap_two, 2, "b"), (change_a_picture, 1, "b"), (take_a_picture_away, 1, "a"), (add_a_picture, 2, "c")],
)
def test_rows_of_another_picture_are_refused(folder: Path, change: Any, rows: int, first: str) -> None:
    extract(folder)
    check(folder)  # also with a picture that cannot be read
    change(folder)
    message = (
        rf"image_feat\.npy.*{rows} of 4 rows .*the first is of item '{first}'.*magnet-train features --data {folder}"
    )
    with pytest.raises(DatasetError, match=message):
        check(folder)
    extract(folder)
    check(folder)


def test_rows_of_another_text_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def encoded_texts(self: object, texts: list[str | None], **_: object) -> Any:
        return np.ones((len(texts), 384), np.float32), np.array([text is not None for text in texts])

    monkeypatch.setattr(ContentEncoder, "encode_texts", encoded_texts)
    extract(folder, text=minilm().name, image=None)
    check(folder)
    write_items(folder, [ITEMS[0], ("b", "Green shirt", "", "", "b.png"), *ITEMS[2:]])
    with pytest.raises(DatasetError, match=r"text_feat\.npy.*1 of 4 rows"):
        check(folder)
    (folder / "items.csv").unlink()  # ids and pictures alone: nothing says what the rows were made of
    with pytest.raises(DatasetError, match=r"text_feat\.npy.*3 of 4 rows"):
        check(folder)


def test_a_record_of_inputs_that_is_not_the_sidecars_is_refused(folder: Path) -> None:
    extract(folder)
    damage_the_record(folder)
    with pytest.raises(DatasetError, match=r"image_feat\.inputs\.npy.*magnet-train features"):
        check(folder)


def test_arrays_that_cannot_be_checked_are_taken(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Somebody else's silently; those made here with a warning, where pictures or the record are on another machine."""
    np.save(folder / "image_feat.npy", np.ones((4, 2), np.float32))
    with caplog.at_level(logging.WARNING):
        check(folder)
    assert not caplog.records
    (folder / "image_feat.npy").unlink()
    extract(folder)
    for name in "abd":
        (folder / f"{name}.png").unlink()
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        check(folder)
    assert "image_feat.npy" in caplog.records[-1].getMessage()
    (folder / "image_feat.inputs.npy").unlink()
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        check(folder)
    assert "image_feat.npy" in caplog.records[-1].getMessage()


@pytest.mark.parametrize("damage", ["values", "inputs", "sidecar", "encoder"])
def test_nothing_is_taken_over_when_anything_is_amiss(folder: Path, encoded: list[int], damage: str) -> None:
    first = extract(folder)["visual"].values
    if damage in ("values", "inputs"):
        file = folder / ("image_feat.npy" if damage == "values" else "image_feat.inputs.npy")
        array = np.load(file)
        np.save(file, array + array.dtype.type(1))
    else:
        about = sidecar(folder, "image")
        change = {"encoder": "0" * 64} if damage == "encoder" else {"items": "many"}
        (folder / "image_feat.json").write_text(json.dumps(about | change))
    np.testing.assert_array_equal(extract(folder)["visual"].values, first)
    assert encoded == [3, 3]


def test_an_array_of_another_origin_is_not_overwritten(folder: Path, tmp_path: Path) -> None:
    foreign = np.ones((4, 2), np.float32)
    np.save(folder / "image_feat.npy", foreign)
    with pytest.raises(DatasetError, match=r"image_feat\.npy.*--out"):
        extract(folder)
    np.testing.assert_array_equal(np.load(folder / "image_feat.npy"), foreign)
    extract(folder, out=tmp_path / "features")
    assert (tmp_path / "features" / "image_feat.npy").is_file()


def test_progress_tells_modality_and_rows(folder: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    extract(folder, text="default", progress=lambda *step: seen.append(step))
    assert seen == [("textual", 2, 2), ("visual", 3, 3)]  # a and d have the same text


def test_the_commands_make_list_and_use_encoders(folder: Path) -> None:
    store = ["--store", str(encoder_store())]
    runner = CliRunner()
    imported = runner.invoke(encoder_group, ["import", "filter-bank", *store], catch_exceptions=False)
    assert imported.stdout.strip() == filter_bank().name
    listed = runner.invoke(encoder_group, ["list", "--json", *store], catch_exceptions=False)
    by_hash = {entry["hash"]: entry for entry in json.loads(listed.stdout)}
    assert by_hash[filter_bank().name]["name"] == "filter-bank"
    table = runner.invoke(encoder_group, ["list", *store], catch_exceptions=False)
    assert filter_bank().name[:16] in table.stdout
    made = runner.invoke(
        features_command, ["--data", str(folder), *store, "--text", "none", "--image", filter_bank().name[:12]]
    )
    assert made.exit_code == 0, made.output
    assert "visual: 4 items x 290, 2 missing" in made.stdout
    assert (folder / "image_feat.npy").is_file()
    assert not (folder / "text_feat.npy").exists()


def test_a_dataset_with_nothing_to_encode_says_so(folder: Path) -> None:
    write_items(folder, [(item_id, "", "", "", "") for item_id, *_ in ITEMS])
    made = CliRunner().invoke(features_command, ["--data", str(folder), "--store", str(encoder_store())])
    assert isinstance(made.exception, DatasetError)
    assert "texts or pictures" in str(made.exception)
