"""A small run that polypseg 0.1 trained, tuned and scored, its 12 synthetic images, and a prediction of them."""

import shutil
from pathlib import Path

import pytest

OLD = Path(__file__).parents[1] / "data_files" / "old_run"


@pytest.fixture
def old(tmp_path):
    """A copy of `run`, `data` and `predicted` in an empty folder."""
    return Path(shutil.copytree(OLD, tmp_path / "old"))
