import json

import cv2
import numpy as np
import pytest

from polypseg.predict.predictor import Predictor
from polypseg.records.model_facts import ModelFacts

SIDE = 64


class RedEngine:
    """Says of each pixel that it is polyp as much as it is red."""

    name = "red"
    size = SIDE
    threshold = 0.5
    facts = ModelFacts(size=SIDE, peak_threshold=0.6)

    def run(self, batch):
        return batch[..., :1]


@pytest.fixture
def predictor():
    return Predictor(RedEngine())


def frame(*spots):
    """A grey-black frame with spots of x, y, side and redness in it."""
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    for x, y, side, red in spots:
        image[y : y + side, x : x + side, 0] = round(255 * red)
    return image


def write(folder, name, pixels):
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / f"{name}.png"), pixels[..., ::-1] if pixels.ndim == 3 else pixels)


@pytest.fixture
def clinic(tmp_path):
    """Two procedures of frames and masks; 10 frames a second.

    p1: frame 8 clean, 9 lesion 3 (10 x 10 at 20, 20) found whole, 10 the same found in its left half only, with a false
    spot, 11 clean with a spot of .7.
    p2: frame 1 lesion 255 not found (red .3, weak), frame 2 clean.
    """
    films, masks = tmp_path / "films", tmp_path / "masks"
    lesion = np.zeros((SIDE, SIDE), np.uint8)
    lesion[20:30, 20:30] = 3
    nothing = np.zeros((SIDE, SIDE), np.uint8)
    for name, image, mask in (
        ("8", frame(), nothing),
        ("9", frame((20, 20, 10, 0.9)), lesion),
        ("10", frame((15, 20, 10, 0.8), (50, 50, 4, 0.65)), lesion),
        ("11", frame((40, 5, 8, 0.7)), nothing),
    ):
        write(films / "p1", name, image)
        write(masks / "p1", name, mask)
    for name, image, mask in (("1", frame((20, 20, 10, 0.3)), np.where(lesion, 255, 0)), ("2", frame(), nothing)):
        write(films / "p2", name, image)
        write(masks / "p2", name, mask.astype(np.uint8))
    return tmp_path


def save(path, content):
    path.write_text(json.dumps(content) if not isinstance(content, str) else content)
    return path
