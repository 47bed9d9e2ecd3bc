"""From texts to vectors with the real default encoder: meaning, missing ones, rows on their own."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from model_store.encoders import ContentEncoder
from model_store.encoders.item_text import item_text
from tests.support.encoders import filter_bank, minilm

TEXTS = [
    "A light summer dress with flowers",
    "Floral gown for warm days",
    "A cordless drill with two batteries",
    "Power tool to bore holes, rechargeable",
]


@pytest.fixture(scope="module")
def encoder() -> ContentEncoder:
    return ContentEncoder.open(minilm())


def test_similar_sentences_are_closer(encoder: ContentEncoder) -> None:
    values, present = encoder.encode_texts(TEXTS)
    assert (encoder.kind, encoder.name, encoder.width) == ("text", "all-MiniLM-L6-v2", 384)
    assert values.dtype == np.float32
    assert present.all()
    np.testing.assert_allclose(np.linalg.norm(values, axis=1), 1, atol=1e-5)
    similarity = values @ values.T
    np.fill_diagonal(similarity, -1)
    assert similarity.argmax(axis=1).tolist() == [1, 0, 3, 2]
    assert similarity[0, 1] > similarity[0, 2:].max() + 0.2


def test_rows_do_not_depend_on_their_batch(encoder: ContentEncoder) -> None:
    texts = [*TEXTS, "short", "a longer text about nothing in particular " * 12, TEXTS[0] * 2]
    alone = np.concatenate([encoder.encode_texts([text])[0] for text in texts])
    for size in (1, 3, 7):
        np.testing.assert_allclose(encoder.encode_texts(texts, batch_size=size)[0], alone, atol=1e-5)


def test_absent_and_blank_texts_are_zero_rows(encoder: ContentEncoder) -> None:
    seen: list[tuple[int, int]] = []
    values, present = encoder.encode_texts([None, "", " \n", "words"], progress=lambda *steps: seen.append(steps))
    assert present.tolist() == [False, False, False, True]
    assert not values[:3].any()
    assert seen == [(4, 4)]
    empty, none = encoder.encode_texts([])
    assert empty.shape == (0, 384)
    assert none.shape == (0,)


def test_text_beyond_the_limit_is_cut(encoder: ContentEncoder) -> None:
    spec = encoder.description.text
    assert spec is not None
    words = "word " * spec.max_tokens
    endless = words + "elephant " * 100_000
    np.testing.assert_allclose(encoder.encode_texts([words])[0], encoder.encode_texts([endless])[0], atol=1e-6)


def test_any_string_can_be_encoded(encoder: ContentEncoder) -> None:
    _, present = encoder.encode_texts(["\ud800 half a pair", "\0", "🧶" * 50, "‮אבג", "[CLS] [SEP]"])
    assert present.all()


def test_threads_share_an_encoder(encoder: ContentEncoder) -> None:
    alone = encoder.encode_texts(TEXTS)[0]
    with ThreadPoolExecutor(4) as pool:
        for values, _ in pool.map(encoder.encode_texts, [TEXTS] * 8):
            np.testing.assert_allclose(values, alone, atol=1e-5)


def test_texts_join_into_sentences() -> None:
    assert item_text("Jaws", ("Thriller", "Sea"), "A shark comes.") == "Jaws. Thriller, Sea. A shark comes."
    assert item_text(None, (), " Who? ") == "Who?"
    assert item_text("", (), None) is None
    assert item_text(" ", (), "\n") is None


def run(code: str, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments], capture_output=True, text=True, check=True
    ).stdout


def test_encoding_needs_no_torch_and_reading_no_runtime() -> None:
    code = """
import sys
from pathlib import Path
from PIL import Image
import io
from model_store.encoders import ContentEncoder, read_description
read_description(Path(sys.argv[1]))
print("onnxruntime" in sys.modules)
content = io.BytesIO()
Image.new("RGB", (9, 9)).save(content, "PNG")
texts, _ = ContentEncoder.open(Path(sys.argv[1])).encode_texts(["hello"])
images, _ = ContentEncoder.open(Path(sys.argv[2])).encode_images([content.getvalue()])
print(texts.shape, images.shape)
print(sorted({"torch", "transformers", "training", "onnx"} & set(sys.modules)))
"""
    assert run(code, str(minilm()), str(filter_bank())).splitlines() == ["False", "(1, 384) (1, 290)", "[]"]


def test_a_missing_runtime_is_a_clear_error() -> None:
    code = """
import sys
from pathlib import Path
sys.modules["onnxruntime"] = None
from model_store.encoders import ContentEncoder
from model_store.encoders.item_text import item_text
from model_store.errors import EncoderError
try:
    ContentEncoder.open(Path(sys.argv[1]))
except EncoderError as error:
    print(error)
"""
    assert "magnet-rec[train]" in run(code, str(filter_bank()))
