"""The Python snippets of README.md and docs/ are tests: each page runs in a folder of its own, from top to bottom.

A snippet that needs what a test has not (a trained run, a data set) stands below `<!-- skip: next "why" -->`.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from sybil import Sybil
from sybil.parsers.myst import PythonCodeBlockParser, SkipParser

HERE = Path(__file__).parent
collect_ignore = ["docs/conf.py", "docs/generate.py", "docs/_build"]


def enter_folder(namespace: dict[str, Any]) -> None:
    """Begin a page: a folder with what the pages assume, one synthetic frame as `frame.jpg`."""
    from PIL import Image

    from polypseg.data.synthetic import make_synthetic

    namespace["_came_from"], namespace["_folder"] = Path.cwd(), tempfile.TemporaryDirectory()
    folder = Path(namespace["_folder"].name)
    samples = make_synthetic(folder / "my-images", 8, seed=3, side_range=(64, 96))
    Image.open(samples[0].image_path).save(folder / "frame.jpg")
    os.chdir(folder)


def leave_folder(namespace: dict[str, Any]) -> None:
    """End a page: remove its folder."""
    os.chdir(namespace["_came_from"])
    namespace["_folder"].cleanup()


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()],
    patterns=["README.md", "docs/**/*.md"],
    path=str(HERE),
    setup=enter_folder,
    teardown=leave_folder,
).pytest()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Collect no snippet of a generated page."""
    items[:] = [item for item in items if "generated" not in str(item.path)]
