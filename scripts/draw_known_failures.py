"""Draws docs/images/failures_MODEL.png: where the packaged models fail, on synthetic frames.

python scripts/draw_known_failures.py

For each kind of frame the worst four of 80: what a model does there, not how often. No patient's image is needed.
"""

from collections.abc import Callable
from itertools import count, islice
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as PillowImage

import polypseg
from polypseg.arrays import Image, Mask
from polypseg.data.synthetic import synthetic_image
from polypseg.metrics.overlap import dice
from polypseg.predict.engines.packaged import packaged_models
from polypseg.predict.predictor import Predictor
from polypseg.report.figures import SampleRow, case_figure

FOLDER = Path(__file__).parents[1] / "docs" / "images"
SIZE = (320, 384)
NUM_FRAMES, NUM_SHOWN = 80, 4
SMALL, LARGE = 0.015, 0.3
"""Shares of the frame: below it a polyp counts as small; what it is enlarged to."""

Frame = tuple[Image, Mask]


def frame(seed: int, with_polyp: bool = True) -> Frame:
    return synthetic_image(np.random.default_rng([7, seed]), SIZE, with_polyp)


def small(seed: int) -> Frame | None:
    """A frame whose polyp is small; None where it is not."""
    image, mask = frame(seed)
    return (image, mask) if mask.mean() < SMALL else None


def large(seed: int) -> Frame:
    """The part of the frame around the polyp, so narrow that the polyp fills much of it."""
    image, mask = frame(seed)
    share = min(1.0, float(np.sqrt(mask.mean() / LARGE)))
    height, width = (round(share * side) for side in SIZE)
    x, y, box_width, box_height = cv2.boundingRect(mask.astype(np.uint8))
    top = int(np.clip(y + (box_height - height) // 2, 0, SIZE[0] - height))
    left = int(np.clip(x + (box_width - width) // 2, 0, SIZE[1] - width))
    part = slice(top, top + height), slice(left, left + width)
    near = cv2.resize(image[part], SIZE[::-1], interpolation=cv2.INTER_CUBIC)
    return near, cv2.resize(mask[part].astype(np.uint8), SIZE[::-1], interpolation=cv2.INTER_NEAREST) > 0


def out_of_focus(seed: int) -> Frame:
    image, mask = frame(seed)
    return cv2.GaussianBlur(image, (0, 0), 5), mask


KINDS: dict[str, Callable[[int], Frame | None]] = {
    "no polyp": lambda seed: frame(seed, with_polyp=False),
    "small": small,
    "large": large,
    "blurred": out_of_focus,
}


def worst(predictor: Predictor, draw: Callable[[int], Frame | None]) -> list[SampleRow]:
    """The frames of the lowest Dice, or of the largest false area where there is no polyp."""
    scored = []
    drawn = ((seed, found) for seed, found in enumerate(map(draw, count())) if found is not None)
    for seed, (image, reference) in islice(drawn, NUM_FRAMES):
        predicted = predictor.predict(image).mask
        score = dice(predicted, reference) if reference.any() else float("nan")
        rank = score if reference.any() else -float(predicted.mean())
        scored.append((rank, SampleRow(f"frame {seed}", image, reference, predicted, score)))
    return [row for _, row in sorted(scored, key=lambda pair: pair[0])[:NUM_SHOWN]]


if __name__ == "__main__":
    for model in packaged_models():
        predictor = polypseg.load(model.name)
        cases = {kind: worst(predictor, draw) for kind, draw in KINDS.items()}
        path = case_figure(cases, FOLDER / f"failures_{model.name}.png")
        PillowImage.open(path).convert("RGB").quantize(256).save(path, optimize=True)  # a third of the bytes
        print(path)
