"""Fixtures that every test may use."""

import functools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from typer import testing

settings.register_profile("untimed", deadline=None)  # a busy machine must not fail a test
settings.load_profile("untimed")

REAL_DATA = Path(os.environ.get("POLYPSEG_DATA") or Path(__file__).parents[2] / "shared" / "data")


@pytest.fixture(scope="session", autouse=True)
def _command_built_once() -> Iterator[None]:
    """The tree of commands is built once, not for each call: that would be half the time of a test of the options."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(testing, "_get_command", functools.cache(testing._get_command))
        yield


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
