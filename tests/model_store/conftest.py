"""One published snapshot of each size, shared by the tests that only read or copy it."""

from pathlib import Path

import pytest

from tests.support.tiny_snapshot import write_tiny_pair_snapshot, write_tiny_popularity_snapshot


@pytest.fixture(scope="session")
def pair_snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny `pair` snapshot."""
    root = tmp_path_factory.mktemp("pair")
    return root / "snapshots" / write_tiny_pair_snapshot(root)


@pytest.fixture(scope="session")
def popularity_snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny `popularity` snapshot."""
    root = tmp_path_factory.mktemp("popularity")
    return root / "snapshots" / write_tiny_popularity_snapshot(root)
