"""The corruption benchmark: mean Dice on frames in fifteen corruptions of five strengths, and the error they cause.

Decisions:
- The error of a frame is 1 - Dice. The corruption error of a model is its error summed over strengths, over that of a
  named baseline; the mean corruption error is the mean over corruptions. 1 is as good as the baseline, lower is better.
- Frames without a polyp are left out: they have no Dice.
- Frames are corrupted as they are read: nothing is stored unless `write_corrupted` is asked to, for other programs.
  Those give back maps or masks, OUT/CORRUPTION-STRENGTH/NAME.png, and `clean/NAME.png` for the frames as they are.

Reference:
    Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations",
    ICLR 2019, section 4 (corruption error).
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from polypseg.arrays import MASK_THRESHOLD, Image, Mask
from polypseg.data.corruptions import CORRUPTIONS, STRENGTHS, VERSION, corrupt
from polypseg.data.samples import Sample, load_sample
from polypseg.errors import ScoreError
from polypseg.metrics.overlap import dice
from polypseg.predict.predictor import Predictor
from polypseg.preprocess import read_grey
from polypseg.progress import Track, silent
from polypseg.records.robustness import Robustness

CLEAN = "clean"

Segmenter = Callable[[str, str, Image], Mask]
"""The name of a set (`clean`, `smoke-3`), of an image, and the image to its mask."""


def sets() -> list[str]:
    """The names of all sets: `clean` first, then each corruption at each strength.

    >>> len(sets()), sets()[:3]
    (76, ['clean', 'motion-blur-1', 'motion-blur-2'])
    """
    return [CLEAN, *(f"{corruption}-{strength}" for corruption in CORRUPTIONS for strength in STRENGTHS)]


def corrupted(image: Image, which: str, name: str) -> Image:
    """An image as a set shows it."""
    corruption, _, strength = which.rpartition("-")
    return image if which == CLEAN else corrupt(image, corruption, int(strength), name)


def by_model(predictor: Predictor) -> Segmenter:
    """A model that is run on each image."""
    return lambda _which, _name, image: predictor.predict(image).mask


def by_maps(folder: Path, threshold: float = MASK_THRESHOLD / 255) -> Segmenter:
    """Maps or masks of another program: FOLDER/SET/NAME.png, 255 polyp."""

    def read(which: str, name: str, image: Image) -> Mask:
        path = folder / which / f"{name}.png"
        if not path.is_file():
            raise ScoreError(f"{path}: missing; expected a map for every image of every set, as {CLEAN}/{name}.png")
        grey = read_grey(path)
        if grey.shape != image.shape[:2]:
            raise ScoreError(f"{path}: {grey.shape[0]}x{grey.shape[1]} pixels; expected the image's own size")
        return np.asarray(grey > 255 * threshold)

    return read


def measure_robustness(
    title: str, samples: Sequence[Sample], segment: Segmenter, track: Track = silent, baseline: Robustness | None = None
) -> Robustness:
    """The record of a model on samples.

    Args:
        title: Of the model.
        samples: Those without a polyp are left out.
        segment: Gives each mask.
        track: Shows progress.
        baseline: To which errors are relative.

    Raises:
        ScoreError: No sample shows a polyp, or the baseline is of other images or another version.
    """
    totals = dict.fromkeys(sets(), 0.0)
    names = []
    for sample in track(samples, "corrupting and segmenting", len(samples)):
        image, mask = load_sample(sample)
        if not mask.any():
            continue
        names.append(sample.name)
        for which in totals:
            totals[which] += dice(segment(which, sample.name, corrupted(image, which, sample.name)), mask)
    if not names:
        raise ScoreError("no image shows a polyp: there is no Dice; name a folder of images with polyps")
    means = {which: total / len(names) for which, total in totals.items()}
    record = Robustness(
        title=title,
        version=VERSION,
        num_images=len(names),
        images_digest=hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:16],
        clean=means[CLEAN],
        dice={one: tuple(means[f"{one}-{strength}"] for strength in STRENGTHS) for one in CORRUPTIONS},
    )
    return record if baseline is None else relative_to(record, baseline)


def relative_to(record: Robustness, baseline: Robustness) -> Robustness:
    """The record with its corruption errors relative to a baseline.

    Raises:
        ScoreError: They are of other images or another version, or the baseline makes no error.
    """
    if (record.version, record.images_digest) != (baseline.version, baseline.images_digest):
        raise ScoreError(
            f"the baseline {baseline.title} was measured on other images or with version {baseline.version} of the "
            f"corruptions; measure it again with version {record.version} on the same {record.num_images} images"
        )
    errors = {}
    for corruption, values in record.dice.items():
        below = sum(1 - value for value in baseline.dice[corruption])
        if not below > 0:
            raise ScoreError(f"the baseline {baseline.title} makes no error at {corruption}; choose another baseline")
        errors[corruption] = sum(1 - value for value in values) / below
    mean = sum(errors.values()) / len(errors)
    return record.model_copy(
        update={"baseline": baseline.title, "corruption_error": errors, "mean_corruption_error": mean}
    )


def write_corrupted(samples: Sequence[Sample], out: Path, track: Track = silent) -> Iterator[Path]:
    """The folders of all sets, as they are filled with PNG images for other programs.

    Args:
        samples: All of them.
        out: Made where it is missing.
        track: Shows progress.
    """
    for which in sets():
        (out / which).mkdir(parents=True, exist_ok=True)
    for sample in track(samples, "writing corrupted images", len(samples)):
        image, _ = load_sample(sample)
        for which in sets():
            path = out / which / f"{sample.name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), corrupted(image, which, sample.name)[..., ::-1])
    yield from (out / which for which in sets())
