"""What is kept in memory, as the system counts it: `Rss` of a mapping is what of it is mapped to pages."""

import platform
from pathlib import Path

import numpy as np
import pytest

from service.resident import held, map_all

pytestmark = pytest.mark.skipif(
    platform.system() != "Linux" or tuple(map(int, platform.release().split("-")[0].split(".")[:2])) < (5, 14),
    reason="the system cannot map a file's pages at once",
)
PAGES = 2_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "array.npy"
    np.save(path, np.arange(PAGES * 512, dtype=np.float64))
    return path


def mapped_kib(path: Path) -> int:
    """KiB of this file's mappings that are mapped to pages."""
    kib, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            inside = line.endswith(str(path))
        elif inside and line.startswith("Rss:"):
            kib += int(line.split()[1])
    return kib


def test_every_page_of_a_mapped_array_is_mapped_and_of_a_view_too(path: Path) -> None:
    array = np.load(path, mmap_mode="r").view(np.ndarray)[10:]
    assert mapped_kib(path) < PAGES
    map_all(array)
    assert mapped_kib(path) >= 4 * PAGES


def test_an_array_of_ones_own_is_left_alone() -> None:
    own = np.arange(5.0)
    map_all(own[1:])
    np.testing.assert_array_equal(own, np.arange(5.0))


def test_a_file_is_mapped_for_as_long_as_it_is_held(path: Path) -> None:
    mapped = held(path)
    assert mapped_kib(path) >= 4 * PAGES
    del mapped
    assert mapped_kib(path) == 0
