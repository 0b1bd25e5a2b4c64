"""Draws the synthetic examples of the web page again.

python scripts/draw_page_examples.py
"""

from pathlib import Path

import numpy as np
from PIL import Image

from polypseg.arrays import Image as Pixels
from polypseg.data.synthetic import synthetic_image

FOLDER = Path(__file__).parents[1] / "src" / "polypseg" / "serve" / "page" / "examples"
SIZE = (512, 640)
EXAMPLES = {"red": (5, True), "flat": (11, True), "none": (19, False)}
"""Seed, and whether a polyp is drawn, by name."""


def draw(name: str) -> Pixels:
    seed, with_polyp = EXAMPLES[name]
    return synthetic_image(np.random.default_rng(seed), SIZE, with_polyp)[0]


if __name__ == "__main__":
    for name in EXAMPLES:
        Image.fromarray(draw(name)).save(FOLDER / f"{name}.jpg", quality=88, optimize=True)
        print(FOLDER / f"{name}.jpg")
