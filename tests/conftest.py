"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # a busy machine must not fail a test
settings.load_profile("untimed")

KERAS_ROOMS = frozenset({"contracts", "explain", "export", "models", "train"})
"""Folders of tests that build or train networks: three quarters of the time of all tests."""

REAL_DATA = Path(os.environ.get("POLYPSEG_DATA") or Path(__file__).parents[2] / "shared" / "data")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of `KERAS_ROOMS` as `keras`."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here) and item.path.relative_to(here).parts[0] in KERAS_ROOMS:
            item.add_marker("keras")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder that holds kvasir-seg/, cvc-clinicdb/ and polypgen-negatives/."""
    if not (REAL_DATA / "kvasir-seg" / "images").is_dir():
        pytest.skip(
            f"no real images in {REAL_DATA}: set POLYPSEG_DATA to a folder that holds kvasir-seg/ "
            "(polypseg data download kvasir-seg)"
        )
    return REAL_DATA


@pytest.fixture(scope="session")
def sample_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of 16 synthetic samples, 40 to 56 px high; nothing writes into it."""
    from polypseg.data.synthetic import make_synthetic

    folder = tmp_path_factory.mktemp("set")
    make_synthetic(folder, 16, seed=2, side_range=(40, 56))
    return folder
