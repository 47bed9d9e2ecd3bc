"""Encoder bundles on disk: `<store>/encoders/<hash>/`, written once, named by their content and never changed.

The name is the SHA-256 of the lines `<sha256 of the file>  <file name>\\n` of the bundle's files in the order of their
names, which is what `sha256sum encoder.json encoder.onnx tokenizer.json | sha256sum` prints.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from model_store.encoders.description import EncoderDescription, EncoderSource
from model_store.errors import EncoderError
from model_store.files import remove_tree, replace_file, sha256, storage_errors, sync

DESCRIPTION: Final = "encoder.json"
GRAPH: Final = "encoder.onnx"
TOKENIZER: Final = "tokenizer.json"
MAX_DESCRIPTION_BYTES: Final = 2**20

_HASH = re.compile(r"[0-9a-f]{64}")
_STAGED: Final = ".new-"
_GRACE_SECONDS: Final = 86_400


def bundle_path(root: Path, encoder_hash: str) -> Path:
    """Folder of a bundle in the store at `root`; raises EncoderError if it is not there."""
    path = root / "encoders" / encoder_hash
    if _HASH.fullmatch(encoder_hash) is None or not path.is_dir():
        raise EncoderError(f"{root}: expected an encoder {encoder_hash[:80]!r}, found none; see magnet-train encoder")
    return path


def list_bundles(root: Path) -> Iterator[tuple[str, EncoderDescription]]:
    """Hash and description of every bundle in the store at `root`, in the order of their hashes, unverified."""
    folder = root / "encoders"
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if _HASH.fullmatch(path.name):
                yield path.name, read_description(path)


def find_bundle(root: Path, source: EncoderSource) -> Path | None:
    """The bundle in the store at `root` that was made from exactly this source, if there is one."""
    for encoder_hash, description in list_bundles(root):
        if description.source == source:
            return bundle_path(root, encoder_hash)
    return None


def read_description(path: Path) -> EncoderDescription:
    """Read and check the bundle's `encoder.json`; raises EncoderError."""
    file = path / DESCRIPTION
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_DESCRIPTION_BYTES + 1)
        if len(content) > MAX_DESCRIPTION_BYTES:
            raise EncoderError(f"{file}: expected at most {MAX_DESCRIPTION_BYTES} bytes, found more")
        return EncoderDescription.model_validate_json(content)
    except OSError as error:
        raise EncoderError(f"{file}: expected an encoder's description, found none: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the document"
        raise EncoderError(f"{file}: {place}: {first['msg']}"[:500]) from error


def verify_bundle(path: Path) -> None:
    """Read every byte and compare with the bundle's name; raises EncoderError if anything was altered or added."""
    found = _hash(path)
    if found != path.name:
        raise EncoderError(f"{path}: expected content with the hash {path.name}, found {found}: the bundle was altered")


def write_bundle(root: Path, description: EncoderDescription, graph: bytes, tokenizer: str | None) -> Path:
    """Publish an encoder in the store at `root` and return its folder; what is there already is kept.

    `tokenizer` is the content of tokenizer.json, which texts need and pictures must not have. The folder appears
    complete or not at all. Raises EncoderError, StoreFull or StoreUnusable.
    """
    if (tokenizer is None) != (description.text is None):
        raise EncoderError(f"{description.name}: expected a tokenizer for texts, and only for texts")
    files = {DESCRIPTION: (description.model_dump_json(indent=2, exclude_none=True) + "\n").encode(), GRAPH: graph}
    if tokenizer is not None:
        files[TOKENIZER] = tokenizer.encode()
    folder = root / "encoders"
    with storage_errors(f"writing the encoder {description.name}"):
        folder.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=_STAGED, dir=folder))
        try:
            for name, content in files.items():
                replace_file(staged / name, content)
                (staged / name).chmod(0o444)
            staged.chmod(0o755)
            target = folder / _hash(staged)
            if not _moved(staged, target):
                verify_bundle(target)
            sync(folder)
            return target
        finally:
            remove_tree(staged)


def remove_leftovers(root: Path, now: float) -> None:
    """Remove what writers of bundles left behind that died more than a day ago."""
    for folder in (root / "encoders").glob(f"{_STAGED}*"):
        if folder.is_dir() and folder.stat().st_mtime < now - _GRACE_SECONDS:
            remove_tree(folder)


def _hash(path: Path) -> str:
    try:
        lines = [f"{sha256(file)}  {file.name}\n" for file in sorted(path.iterdir())]
    except OSError as error:
        raise EncoderError(f"{path}: expected a readable encoder bundle: {error.strerror}") from error
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _moved(staged: Path, target: Path) -> bool:
    """Give the folder its name; False if one of that name is there already, made earlier or this very moment."""
    try:
        staged.rename(target)
    except OSError:
        if target.is_dir():
            return False
        raise
    return True
