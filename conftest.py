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
KERAS_TESTS = (
    *("contracts", "explain", "export", "models", "train"),
    *("cli/test_export.py", "cli/test_train.py", "data/test_augment.py"),
)
"""What builds or trains networks, in tests/ and in src/polypseg/: three quarters of the time of all tests."""

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


def needs_keras(path: Path) -> bool:
    """Whether a path is one of `KERAS_TESTS`, or lies in one."""
    roots = (HERE / "tests", HERE / "src" / "polypseg")
    return any(path.is_relative_to(root / place) for root in roots for place in KERAS_TESTS)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave `KERAS_TESTS` unread where they are not wanted: each process would import TensorFlow for nothing."""
    return True if "not keras" in config.option.markexpr and needs_keras(collection_path) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark `KERAS_TESTS` as `keras`; files with slow tests first; collect no snippet of a generated page."""
    items[:] = [item for item in items if "generated" not in str(item.path)]
    for item in items:
        if needs_keras(item.path):
            item.add_marker("keras")
    slow = {item.path for item in items if {"keras", "slow"} & {mark.name for mark in item.iter_markers()}}
    items.sort(key=lambda item: item.path not in slow)  # what is quick fills both processes at the end
