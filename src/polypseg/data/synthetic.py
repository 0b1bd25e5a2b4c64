"""A synthetic data set: procedural colonoscopy frames with exact masks, for demos, tests and benchmarks.

Models trained on these frames prove that a program works, and nothing about patients.

Decisions:
- A sequence is one scene (colours, the polyp's look) seen in each of its frames from elsewhere; the data set
  has a sequences.csv, so that the code which keeps groups together is exercised.
- Every frame has a random stream of its own, so that the same seed gives the same masks byte by byte, however
  many frames are asked for.
"""

import csv
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from polypseg.arrays import Image, Mask
from polypseg.data.samples import Sample
from polypseg.data.scene import SMALLEST_SIDE, draw_frame, draw_scene
from polypseg.errors import DataError, UsageError
from polypseg.progress import Track, silent
from polypseg.records.lock import alone_in

FRAMES_PER_SEQUENCE = 4


def make_synthetic(
    out: Path | str,
    num_images: int = 120,
    seed: int = 0,
    side_range: tuple[int, int] = (224, 352),
    empty_share: float = 0.0,
    track: Track = silent,
) -> list[Sample]:
    """The samples of a new synthetic data set: images/*.jpg, masks/*.png and sequences.csv in the folder `out`.

    Args:
        out: Folder to write; made if missing, refused where it already holds images.
        num_images: How many, in sequences of 4 frames.
        seed: The same seed gives the same masks byte by byte, whatever `num_images` is.
        side_range: Smallest and largest height and width in pixels; equal for frames of one size.
        empty_share: Share of the sequences whose frames show no polyp (their masks are black), in [0, 1].
        track: Shows progress.

    Raises:
        BusyError: Another process works in the folder.
        DataError: The folder already holds images.
        UsageError: A number that cannot be.
    """
    _check_request(num_images, side_range, empty_share)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    with alone_in(folder):
        return _draw(folder, num_images, seed, side_range, empty_share, track)


def _draw(
    folder: Path, num_images: int, seed: int, side_range: tuple[int, int], empty_share: float, track: Track
) -> list[Sample]:
    """As `make_synthetic`, in a folder in which nobody else works."""
    images_dir, masks_dir = folder / "images", folder / "masks"
    if images_dir.exists() and any(images_dir.iterdir()):
        raise DataError(f"{images_dir}: already holds files; expected a new or empty folder: remove it or name another")
    images_dir.mkdir(exist_ok=True)
    masks_dir.mkdir(exist_ok=True)
    samples = []
    for index in track(range(num_images), "drawing frames", num_images):
        sequence = index // FRAMES_PER_SEQUENCE
        with_polyp = int((sequence + 1) * empty_share + 1e-9) == int(sequence * empty_share + 1e-9)
        rng = np.random.default_rng([seed, sequence, 1 + index % FRAMES_PER_SEQUENCE])
        height, width = (int(side) for side in rng.integers(side_range[0], side_range[1], 2, endpoint=True))
        scene = draw_scene(np.random.default_rng([seed, sequence, 0]))
        image, mask = draw_frame(scene, rng, (height, width), with_polyp)
        name = f"synthetic_{index + 1:05d}"
        sample = Sample(name, images_dir / f"{name}.jpg", masks_dir / f"{name}.png", group=f"{sequence + 1:04d}")
        PillowImage.fromarray(image).save(sample.image_path, quality=92)
        PillowImage.fromarray(mask.astype(np.uint8) * 255).save(masks_dir / f"{name}.png")
        samples.append(sample)
    with (folder / "sequences.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["frame", "sequence"])
        writer.writerows([sample.name, sample.group] for sample in samples)
    return samples


def synthetic_image(
    rng: np.random.Generator, size: tuple[int, int] = (256, 256), with_polyp: bool = True
) -> tuple[Image, Mask]:
    """One frame and its mask.

    Args:
        rng: Source of all that is random.
        size: Height and width in pixels.
        with_polyp: False draws the wall alone.

    Returns:
        Image (H, W, 3) uint8 and mask (H, W) bool, which holds a polyp exactly if asked to.
    """
    return draw_frame(draw_scene(rng), rng, size, with_polyp)


def _check_request(num_images: int, side_range: tuple[int, int], empty_share: float) -> None:
    if num_images < 1:
        raise UsageError(f"num_images {num_images}: expected at least 1")
    if not SMALLEST_SIDE <= side_range[0] <= side_range[1]:
        raise UsageError(f"side_range {side_range}: expected (smallest, largest) of at least {SMALLEST_SIDE} pixels")
    if not 0 <= empty_share <= 1:
        raise UsageError(f"empty_share {empty_share}: expected a share in [0, 1]")
