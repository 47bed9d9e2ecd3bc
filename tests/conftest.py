"""What every test shares: one thread per numeric library, checked shapes, and where the development data sets are."""

import os

# Before anything imports NumPy, FAISS or torch: these are read once, at load. One thread keeps sums in one order, so
# that tests are reproducible, and keeps a two-core machine from being oversubscribed by servers that tests start.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import subprocess  # noqa: E402  (after the environment is set)
from collections.abc import Callable, Iterator  # noqa: E402
from pathlib import Path  # noqa: E402

import pytest  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402

# Before anything imports the models: beartype then checks the shapes and types that their functions state.
# An int is a float to it, as PEP 484 has it.
install_import_hook("training.models", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Directory of the development data sets (`baby/`, `movielens/`); skips the test where they are absent."""
    directory = Path(os.environ.get("MAGNET_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not (directory / "baby" / "baby.inter").exists():
        pytest.skip(f"development data not found at {directory}: set MAGNET_SHARED_DATA to where it is")
    return directory


@pytest.fixture
def small_disks(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mounts file systems of so many KiB; skips where that takes rights we lack."""
    mounted: list[Path] = []

    def mount(kibibytes: int) -> Path:
        place = tmp_path / f"disk{kibibytes}"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={kibibytes}k", "none", str(place)]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("mounting a small file system takes root")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark whatever asks for `shared_data`, so that `-m "not shared_data"` leaves exactly those out."""
    for item in items:
        if "shared_data" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.shared_data)
