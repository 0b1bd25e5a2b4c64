"""Near-duplicates side by side, to be judged by eye."""

import re
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw

from polypseg.arrays import Image
from polypseg.data.checks import Inspected, Leak
from polypseg.errors import DataError
from polypseg.preprocess import read_image
from polypseg.progress import Track, silent

PICTURE_HEIGHT = 320


def write_pictures(leaks: Sequence[Leak], folder: Path, track: Track = silent) -> list[Path]:
    """Each pair side by side, under its names, as a PNG in `folder`; the paths written.

    Raises:
        DataError: The folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot make the folder of pictures: {error.strerror}") from error
    written = []
    for number, leak in enumerate(track(leaks, "drawing pairs", len(leaks)), start=1):
        name = f"{number:04d} {leak.where} {leak.first.sample.name} {leak.second.sample.name}"
        path = folder / f"{re.sub(r'[^A-Za-z0-9._-]+', '_', name)[:180]}.png"
        draw_pair(leak).save(path)
        written.append(path)
    return written


def draw_pair(leak: Leak) -> PillowImage.Image:
    """The two images of a pair side by side, with where they are from and how alike they are."""
    images = [_at_height(read_image(found.sample.image_path)) for found in (leak.first, leak.second)]
    caption = 44
    width = max(sum(image.shape[1] for image in images) + 8, 480)
    canvas = PillowImage.new("RGB", (width, PICTURE_HEIGHT + caption), "white")
    draw = ImageDraw.Draw(canvas)
    left = 0
    for image, found in zip(images, (leak.first, leak.second), strict=True):
        canvas.paste(PillowImage.fromarray(image), (left, caption))
        draw.text((left + 4, 4), _place(found).encode("ascii", "replace").decode(), fill="black")
        left += image.shape[1] + 8
    alike = "identical pixels" if leak.pair.is_identical else f"similarity {leak.pair.similarity:.2f}"
    draw.text((4, 24), f"{leak.where}, {alike}, {leak.pair.orientation}", fill="black")
    return canvas


def _place(found: Inspected) -> str:
    return f"{found.source}/{found.sample.name}" + (f" ({found.split})" if found.split else "")


def _at_height(image: Image) -> Image:
    width = max(1, round(image.shape[1] * PICTURE_HEIGHT / image.shape[0]))
    return np.asarray(cv2.resize(image, (width, PICTURE_HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)
