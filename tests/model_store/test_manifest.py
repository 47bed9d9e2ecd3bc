"""The manifest: its bytes, its seal, its id, and what a reader makes of anything else."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from model_store import Snapshot, SnapshotCorrupt, StoreError, UnsupportedVersion, manifest, seal
from model_store.manifest import Manifest, ManifestDraft, Modality, Term, check_relative_file
from tests.support.forged import forge, id_of, seal_of, writable_copy

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def test_bytes_come_back_as_the_same_manifest(pair_snapshot: Path) -> None:
    data = (pair_snapshot / "manifest.json").read_bytes()
    assert seal.to_bytes(seal.from_bytes(data)) == data


def test_seal_and_id_are_what_the_format_says(pair_snapshot: Path) -> None:
    data = (pair_snapshot / "manifest.json").read_bytes()
    assert json.loads(data)["seal"] == seal_of(data)
    assert pair_snapshot.name == id_of(data) == seal.snapshot_id(data)


def test_date_and_producer_are_no_part_of_the_id(pair_snapshot: Path) -> None:
    data = (pair_snapshot / "manifest.json").read_bytes()
    known = seal.from_bytes(data)
    later = known.model_copy(update={"created_at": datetime(2030, 1, 1, tzinfo=UTC), "producer": "another"})
    assert seal.to_bytes(later) != data
    assert seal.snapshot_id(seal.to_bytes(later)) == pair_snapshot.name
    other = known.model_copy(update={"dataset": "another"})
    assert seal.snapshot_id(seal.to_bytes(other)) != pair_snapshot.name


def test_no_byte_of_the_manifest_can_change(popularity_snapshot: Path) -> None:
    data = (popularity_snapshot / "manifest.json").read_bytes()
    for place in range(len(data)):
        changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        with pytest.raises(StoreError):
            seal.from_bytes(changed)


@given(st.data())
@settings(max_examples=200)
def test_no_cut_of_the_manifest_is_read(popularity_snapshot: Path, data: st.DataObject) -> None:
    whole = (popularity_snapshot / "manifest.json").read_bytes()
    with pytest.raises(StoreError):
        seal.from_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_anything_else_is_refused_in_one_way(anything: bytes) -> None:
    with pytest.raises(StoreError):
        seal.from_bytes(anything)


@pytest.mark.parametrize(
    "anything",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"1" * 10_000,
        b'{"format_version": NaN}',
        b'{"format_version": 1e999}',
        b"\xff",
    ],
)
def test_what_breaks_parsers_is_refused(anything: bytes) -> None:
    with pytest.raises(SnapshotCorrupt):
        seal.from_bytes(anything)


def test_a_manifest_beyond_the_bound_is_not_parsed() -> None:
    with pytest.raises(SnapshotCorrupt, match="at most"):
        seal.from_bytes(b" " * (seal.MAX_MANIFEST_BYTES + 1))


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [found for key, child in inner for found in places(child, (*path, key))]


@pytest.fixture
def forgery(popularity_snapshot: Path, tmp_path: Path) -> Path:
    """A copy of the popularity snapshot, to be altered."""
    return writable_copy(popularity_snapshot, tmp_path)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_forged_manifest_is_read_or_refused_never_a_traceback(
    popularity_snapshot: Path, forgery: Path, data: st.DataObject
) -> None:
    fields = json.loads((popularity_snapshot / "manifest.json").read_bytes())
    paths = places(fields)

    def change(fields: Any) -> Any:
        for _ in range(data.draw(st.integers(1, 2))):
            *way, last = data.draw(st.sampled_from(paths))
            inner = fields
            try:
                for key in way:
                    inner = inner[key]
                if data.draw(st.booleans()):
                    inner[last] = data.draw(json_values | st.just("../../etc/passwd") | st.integers(-2, 2**70))
                else:
                    del inner[last]
            except (KeyError, IndexError, TypeError):
                pass  # the first change took away where the second was to be
        return fields

    (forgery / "manifest.json").write_bytes((popularity_snapshot / "manifest.json").read_bytes())
    identity = forge(forgery, change)
    with suppress(StoreError):
        Snapshot.open(forgery, expected_id=identity)


def test_versions_outside_the_range_are_refused(forgery: Path) -> None:
    for version in (manifest.OLDEST_READABLE - 1, manifest.CURRENT_VERSION + 1):
        identity = forge(forgery, lambda fields: fields | {"format_version": version})  # noqa: B023
        with pytest.raises(UnsupportedVersion, match=f"found {version}"):
            Snapshot.open(forgery, expected_id=identity)


def test_a_later_version_is_named_even_if_nothing_else_is_understood() -> None:
    with pytest.raises(UnsupportedVersion):
        seal.from_bytes(b'{"format_version": 99, "of the future": true}')


@pytest.mark.parametrize("name", ["../x", "/x", "a/../b", "a//b", "", ".", ".hidden", "a/b/c/d", "a\\b", "a b", "a\n"])
def test_file_names_cannot_leave_the_snapshot(name: str) -> None:
    with pytest.raises(ValueError, match="relative file name"):
        check_relative_file(name)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("terms", [Term(name="a", role="base", modalities={})] * 2, "distinct"),
        ("terms", [Term(name="a", role="base", modalities={"smell": 1.0})], "'smell'"),
        ("modalities", [Modality(name="visual", kind="content")], "behaviour modality first"),
        ("routed_variance_share", float("nan"), "finite"),
        ("scoring", "magic", "scoring"),
        ("surprise", 1, "Extra inputs"),
    ],
)
def test_drafts_that_contradict_themselves(popularity_snapshot: Path, field: str, value: object, said: str) -> None:
    known = seal.from_bytes((popularity_snapshot / "manifest.json").read_bytes())
    fields: dict[str, object] = {name: getattr(known, name) for name in ManifestDraft.model_fields}
    ManifestDraft.model_validate(fields)
    with pytest.raises(ValueError, match=said):
        ManifestDraft.model_validate(fields | {field: value})


def test_every_field_is_described() -> None:
    kinds = [kind for kind in vars(manifest).values() if isinstance(kind, type) and issubclass(kind, BaseModel)]
    assert Manifest in kinds
    for kind in kinds:
        for name, field in kind.model_fields.items():
            assert field.description, f"{kind.__name__}.{name}"
