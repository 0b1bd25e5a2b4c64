"""Draws the synthetic examples of the web page again.

python scripts/draw_page_examples.py

The wall without a polyp is the calmest of the first 40: fewest vessels, highlights and stains. No model chose it. The
models learned on real frames, and mark something in a part of such drawn walls; where they do so here, the page says
it.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from polypseg.arrays import Image as Pixels
from polypseg.data.scene import draw_scene
from polypseg.data.synthetic import synthetic_image

FOLDER = Path(__file__).parents[1] / "src" / "polypseg" / "web" / "examples"
SIZE = (512, 640)


def restlessness(seed: int) -> float:
    """How much of a drawn wall could be taken for something else."""
    scene = draw_scene(np.random.default_rng(seed))
    return scene.vessels + scene.wetness + scene.stains


EXAMPLES = {"red": (5, True), "flat": (11, True), "none": (min(range(40), key=restlessness), False)}
"""Seed, and whether a polyp is drawn, by name."""


def draw(name: str) -> Pixels:
    seed, with_polyp = EXAMPLES[name]
    return synthetic_image(np.random.default_rng(seed), SIZE, with_polyp)[0]


if __name__ == "__main__":
    for name in EXAMPLES:
        Image.fromarray(draw(name)).save(FOLDER / f"{name}.jpg", quality=88, optimize=True)
        print(FOLDER / f"{name}.jpg")
