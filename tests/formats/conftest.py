"""Frames with known polyps, and their images."""

from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image as PillowImage

from polypseg.formats.annotations import POLYP, AnnotatedRegion
from polypseg.formats.outlines import run_lengths
from polypseg.formats.writing import Labelled


class Scene(NamedTuple):
    """Frames to write, and the masks of the polyps of each."""

    frames: list[Labelled]
    masks: dict[str, list[np.ndarray]]


def box(height, width, top, left, high, wide):
    mask = np.zeros((height, width), bool)
    mask[top : top + high, left : left + wide] = True
    return mask


def bitmap(mask):
    return AnnotatedRegion(POLYP, (), tuple(run_lengths(mask)))


@pytest.fixture
def scene(tmp_path):
    """`two` has two polyps that touch; `ring` one with a hole and a part of its own; `none` shows none."""
    ring = box(24, 30, 4, 5, 12, 14) & ~box(24, 30, 8, 9, 3, 4) | box(24, 30, 20, 25, 2, 2)
    masks = {
        "none": [],
        "ring": [ring],
        "two": [box(20, 32, 2, 3, 8, 9), box(20, 32, 2, 12, 6, 5)],
    }
    folder = tmp_path / "original"
    folder.mkdir()
    frames = []
    for place, (name, found) in enumerate(masks.items()):
        size = (16, 18) if not found else found[0].shape
        pixels = np.random.default_rng(place).integers(0, 255, (*size, 3), dtype=np.uint8)
        PillowImage.fromarray(pixels).save(folder / f"{name}.png")
        frames.append(Labelled(name, folder / f"{name}.png", size, tuple(map(bitmap, found))))
    return Scene(frames, masks)
