"""FORMAT.md names what the code knows, and is enough for a reader that uses none of the code."""

import json
import re
import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import model_store
from model_store import Snapshot, manifest
from model_store.events import MAX_LINE_BYTES, POSITIVE_RATING, Event
from model_store.layout import PAIR_PARAMETERS, RULES, ArrayRule
from model_store.manifest import Manifest
from tests.support.forged import id_of, seal_of

FORMAT = (Path(model_store.__file__).parent / "FORMAT.md").read_text()


def test_every_field_of_the_manifest_is_described() -> None:
    rows = [line for line in FORMAT.splitlines() if line.startswith("| `")]
    described = {name for row in rows for name in re.findall(r"`(\w+)`", row.split(" | ")[0])}
    assert Manifest.model_fields.keys() | {"seal"} <= described


@pytest.mark.parametrize(("name", "rule"), RULES.items())
def test_every_array_is_described_with_its_dtype(name: str, rule: ArrayRule) -> None:
    (row,) = [line for line in FORMAT.splitlines() if line.startswith("|") and f"`{name}`" in line.split(" | ")[0]]
    names, dtypes = re.findall(r"`(\w+)`", row.split(" | ")[0]), row.split(" | ")[1].split(", ")
    dtype = dtypes[names.index(name)] if len(dtypes) > 1 else dtypes[0]
    assert rule.dtypes[0][1:] == dtype


@pytest.mark.parametrize(("name", "shape"), PAIR_PARAMETERS.items())
def test_every_parameter_is_described_with_its_shape(name: str, shape: tuple[str, ...]) -> None:
    (row,) = [line for line in FORMAT.splitlines() if line.startswith("|") and f"`{name}`" in line.split(" | ")[0]]
    assert f"({', '.join(shape)})".replace("hidden", "H").replace("single", "1") in row


def test_versions_and_bounds_are_those_of_the_code() -> None:
    assert FORMAT.startswith(f"# The snapshot format, version {manifest.CURRENT_VERSION}\n")
    assert f"at most {MAX_LINE_BYTES:,} bytes" in FORMAT
    assert f"a `rating` of at least {POSITIVE_RATING}" in FORMAT
    assert all(f'"{field}"' in FORMAT for field in Event.model_fields)


def read_npy(file: Path) -> tuple[dict[str, Any], bytes]:
    """As another language would: header by pattern, numbers as bytes."""
    data = file.read_bytes()
    assert data[:8] == b"\x93NUMPY\x01\x00"
    (length,) = struct.unpack("<H", data[8:10])
    found = re.fullmatch(
        r"\{'descr': '(...)', 'fortran_order': False, 'shape': \((.*)\), \} *\n", data[10 : 10 + length].decode()
    )
    assert found
    shape = [int(size) for size in found[2].split(",") if size.strip()]
    return {"dtype": found[1], "shape": shape}, data[10 + length :]


def test_a_reader_written_from_the_format_finds_the_same(pair_snapshot: Path) -> None:
    data = (pair_snapshot / "manifest.json").read_bytes()
    fields = json.loads(data)
    assert fields["seal"] == seal_of(data)
    assert pair_snapshot.name == id_of(data)
    arrays = {}
    for name, info in fields["arrays"].items():
        header, arrays[name] = read_npy(pair_snapshot / info["file"])
        assert header | {"file": f"arrays/{name}.npy"} == info
    text = arrays["item_ids_bytes"]
    offsets = struct.unpack(f"<{fields['n_items'] + 1}q", arrays["item_ids_offsets"])
    order = struct.unpack(f"<{fields['n_items']}i", arrays["item_ids_order"])
    ids = [text[start:stop] for start, stop in pairwise(offsets)]
    assert [ids[row] for row in order] == sorted(ids)
    snapshot = Snapshot.open(pair_snapshot)
    assert [known.decode() for known in ids] == list(snapshot.item_ids)
    starts = struct.unpack(f"<{fields['n_users'] + 1}q", arrays["history_indptr"])
    items = struct.unpack(f"<{starts[-1]}i", arrays["history_items"])
    for user in range(fields["n_users"]):
        np.testing.assert_array_equal(snapshot.history(user), items[starts[user] : starts[user + 1]])
