"""Models and a run, made once for all tests of the export."""

import pytest

from export.models import make_red_run, small_attention_unet
from polypseg.models.checkpoint import save_model


@pytest.fixture(scope="session")
def unet_file(tmp_path_factory):
    """A small attention_unet as a `.keras` file."""
    path = tmp_path_factory.mktemp("keras") / "small.keras"
    save_model(small_attention_unet(), path)
    return path


@pytest.fixture(scope="session")
def red_run(tmp_path_factory):
    """The run of the red model; read only."""
    return make_red_run(tmp_path_factory.mktemp("red"))
