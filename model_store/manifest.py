"""The manifest: what a snapshot says about itself. How it becomes bytes, a seal and an id is in `seal.py`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, model_validator

CURRENT_VERSION = 1
OLDEST_READABLE = 1

Scoring = Literal["pair", "item", "plain", "item-item", "popularity"]
ITEM_ITEM = "item-item"
"""The term of this name is item-item evidence beside a kind's own terms, before all of them."""
Role = Literal["base", "dominant", "balanced", "complementary", "modality"]
DType = Literal["|b1", "|u1", "|i1", "<i2", "<i4", "<i8", "<u8", "<f2", "<f4", "<f8"]

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
"""Names of modalities, terms and arrays: they become parts of file names and of URLs."""

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


def check_relative_file(name: str) -> str:
    """`name`, if it is a plain relative path at most two folders deep; raises ValueError otherwise."""
    parts = name.split("/")
    if len(parts) > 3 or not all(_PART.fullmatch(part) for part in parts) or PurePosixPath(name).is_absolute():
        raise ValueError(f"expected a plain relative file name (letters, digits, '_', '.', '-', '/'), found {name!r}")
    return name


RelativeFile = Annotated[str, AfterValidator(check_relative_file)]
Measures = dict[str, float | None]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class Modality(_Part):
    """One kind of evidence."""

    name: Name
    """As in answers and in `steer`: `behaviour`, `visual`, `textual`, or the feature file's stem."""
    kind: Literal["behaviour", "content"]
    """`behaviour` is what people did; everything else is `content`."""
    encoder: str | None = None
    """Hash of the content encoder in the store that made the features; null when they came from elsewhere."""
    feature_width: int | None = Field(default=None, ge=1)
    """Width of the raw features; null for behaviour."""


class Term(_Part):
    """One addend of the score; the order of terms is the order of columns in scoring."""

    name: Name
    """As in answers: `item-item`, `dominant-visual` and so on."""
    role: Role
    """`base` terms are always on; the others are routed."""
    modalities: Measures
    """Nominal share of each modality in this term, summing to 1; empty where the notion makes no sense."""


STEERED_FACTORS = (0.0, 0.5, 2.0, 4.0)
"""The factors at which steering is measured; 4 is the most that an answer may be steered by."""
UNMEASURED = 4


class Candidates(_Part):
    """How deep retrieval has to go."""

    depth: int = Field(ge=1)
    """Number of nearest items to fetch from the index before everything is rescored exactly."""
    recall: Measures = Field(default_factory=dict)
    """Share of the exact top-20 (all terms) found, by case: `recall@20`, `recall@20/new-user`, `…/steered`, …"""
    steered_depth: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """As `depth`, by steering: a modality's or term's name with each of `STEERED_FACTORS`, as `visual:2`."""

    def depth_for(self, steer: Mapping[str, float]) -> int:
        """How deep for an answer steered by these factors: as measured at the next factor farther from 1.

        `UNMEASURED` times as deep as otherwise where nothing was measured.
        """
        depths = [self.depth]
        for name, factor in steer.items():
            if factor == 1:
                continue
            beyond = [known for known in STEERED_FACTORS if (known <= factor if factor < 1 else known >= factor)]
            nearest = min(beyond, key=lambda known: abs(known - factor), default=STEERED_FACTORS[-1])
            depths.append(self.steered_depth.get(f"{name}:{nearest:g}", self.depth * UNMEASURED))
        return max(depths)


class Training(_Part):
    """Where the model came from."""

    seed: int
    """Seed of the run."""
    config: dict[str, JsonValue] = Field(default_factory=dict)
    """The run's complete configuration."""
    refit: bool = False
    """Whether the exported model was refitted on all interactions after the metrics were measured."""


class ArrayInfo(_Part):
    """One `.npy` file."""

    file: RelativeFile
    """Path below the snapshot, always `arrays/<name>.npy`."""
    dtype: DType
    """NumPy's type string, little-endian."""
    shape: tuple[Annotated[int, Field(ge=0)], ...] = Field(max_length=8)
    """Shape, C order."""


class FileInfo(_Part):
    """One file of the snapshot."""

    bytes: int = Field(ge=0)
    """Size."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of the content, hexadecimal, lower case."""


class ManifestDraft(_Part):
    """What the producer of a snapshot states; the writer adds what it sees itself (see `Manifest`)."""

    model: str = Field(min_length=1)
    """Name of the model, as `--model` takes it."""
    dataset: str = Field(min_length=1)
    """Name of the dataset it was trained on."""
    scoring: Scoring
    """Which scorer reads this snapshot (`model_store/scoring/`)."""
    embedding_size: int = Field(ge=0)
    """Width D of item and user vectors; 0 where there are none."""
    modalities: tuple[Modality, ...] = Field(min_length=1)
    """Kinds of evidence, behaviour first; the order of every modality axis."""
    terms: tuple[Term, ...] = Field(min_length=1)
    """Addends of the score, in column order."""
    top_k_experts: int = Field(default=0, ge=0)
    """How many routed experts count for one pair; 0 where nothing is routed."""
    history_cap: int = Field(default=1000, ge=1)
    """Number of most recent history items that a user encoder reads."""
    candidates: Candidates
    """Retrieval depth and what it reaches."""
    metrics: dict[str, Measures] = Field(default_factory=dict)
    """Measured quality by split (`valid`, `test`, `cold`, `tail`), then by metric (`recall@20`)."""
    explanation: dict[str, JsonValue] = Field(default_factory=dict)
    """Measured faithfulness of the explanations."""
    routed_variance_share: float | None = None
    """Share of the score's variance within a user's candidates that the routed experts carry; null without any."""
    routing: dict[str, JsonValue] = Field(default_factory=dict)
    """Measured use of the experts."""
    item_item: dict[str, JsonValue] = Field(default_factory=dict)
    """How the item-item term was made (dense, sparse or off; λ; weight)."""
    training: Training
    """Seed and configuration."""

    @model_validator(mode="after")
    def _consistent(self) -> ManifestDraft:
        modalities = [modality.name for modality in self.modalities]
        if self.modalities[0].kind != "behaviour":
            raise ValueError(f"expected the behaviour modality first, found {modalities}")
        terms = [term.name for term in self.terms]
        for what, names in (("modality", modalities), ("term", terms)):
            if len(set(names)) != len(names):
                raise ValueError(f"expected {what} names to be distinct, found {names}")
        if ITEM_ITEM in terms[1:]:
            raise ValueError(f"expected the term {ITEM_ITEM!r} before all others, found {terms}")
        if terms and terms[0] == ITEM_ITEM and self.terms[0].role != "base":
            raise ValueError(f"expected the role 'base' of the term {ITEM_ITEM!r}, found {self.terms[0].role!r}")
        for term in self.terms:
            if unknown := set(term.modalities) - set(modalities):
                raise ValueError(f"term {term.name!r} names the modalities {sorted(unknown)}, known are {modalities}")
        return self


class Manifest(ManifestDraft):
    """The whole manifest."""

    format_version: int
    """Version of the format; readers refuse what lies outside OLDEST_READABLE..CURRENT_VERSION."""
    created_at: AwareDatetime
    """When the snapshot was written (UTC); not part of the id."""
    producer: str
    """Distribution and version that wrote it; not part of the id."""
    n_users: int = Field(ge=0)
    """Number of users U."""
    n_items: int = Field(ge=1)
    """Number of items I."""
    arrays: dict[Name, ArrayInfo]
    """The `.npy` files, by array name."""
    files: dict[RelativeFile, FileInfo]
    """Every file of the snapshot but the manifest."""

    @model_validator(mode="after")
    def _arrays_are_files(self) -> Manifest:
        for name, info in self.arrays.items():
            if info.file != f"arrays/{name}.npy" or info.file not in self.files:
                raise ValueError(f"expected array {name!r} in a listed file arrays/{name}.npy, found {info.file!r}")
        return self
