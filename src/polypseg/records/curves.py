"""curves.npz of an evaluation: what depends on the threshold, summed over the images.

Everything that a report draws without running the model, as plain arrays under the names of `EvaluationCurves`.
"""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polypseg.errors import ScoreError
from polypseg.records.atomic import replacing
from polypseg.records.reading import FileKind, read_npz

KIND = FileKind("file of curves", ScoreError, "evaluate again")

NUM_LEVELS, NUM_BINS = 256, 15

Curve = NDArray[np.float64]


@dataclass(frozen=True)
class EvaluationCurves:
    """The arrays of a curves.npz; NaN where there is no such image.

    An alarm is raised by so many predicted pixels as SummaryOptions.alarm_area_px says.

    Attributes:
        threshold: Shape (256,): probability from which on a pixel is polyp, (k - 1/2) / 255.
        sensitivity: Shape (256,): share of the images with a polyp in which an alarm touches it.
        mean_recall: Shape (256,): mean share of the polyp's pixels found, over the images with a polyp.
        false_positive_frames: Shape (256,): share of the images without a polyp that raise an alarm.
        mean_dice: Shape (256,): mean over the images with a polyp.
        mean_iou: As `mean_dice`.
        precision: Shape (256,): of all pixels of the images with a polyp taken together.
        recall: As `precision`.
        average_precision: Shape (): the area under the two.
        bin_num_pixels: Shape (15,): pixels of each bin of the reliability diagram, images with a polyp.
        bin_mean_probability: Shape (15,).
        bin_polyp_share: Shape (15,).
        histogram: Shape (2, 256): pixels by class and level, images with a polyp.
        polyp_free_histogram: Shape (2, 256): the same of the images without one.
        pranet_threshold: Shape (256,): k / 255.
        pranet_dice: Shape (256,): mean curve of PraNet's protocol, images with a polyp.
        pranet_iou: As `pranet_dice`.
        pranet_e_measure: As `pranet_dice`.
    """

    threshold: Curve
    sensitivity: Curve
    mean_recall: Curve
    false_positive_frames: Curve
    mean_dice: Curve
    mean_iou: Curve
    precision: Curve
    recall: Curve
    average_precision: Curve
    bin_num_pixels: NDArray[np.int64]
    bin_mean_probability: Curve
    bin_polyp_share: Curve
    histogram: NDArray[np.int64]
    polyp_free_histogram: NDArray[np.int64]
    pranet_threshold: Curve
    pranet_dice: Curve
    pranet_iou: Curve
    pranet_e_measure: Curve


NAMES = tuple(field.name for field in fields(EvaluationCurves))


def write_curves(path: Path, curves: EvaluationCurves) -> None:
    """Write a curves.npz."""
    with replacing(path) as temporary:
        np.savez(temporary, allow_pickle=False, **asdict(curves))


def read_curves(path: Path) -> EvaluationCurves:
    """The curves of a curves.npz.

    Raises:
        ScoreError: It is missing or damaged.
    """
    arrays = read_npz(path, NAMES, KIND)
    for name in NAMES:
        _check(path, name, arrays[name])
    return EvaluationCurves(**{name: arrays[name] for name in NAMES})


def _check(path: Path, name: str, array: NDArray[Any]) -> None:
    shape: tuple[int, ...] = (NUM_LEVELS,)
    if name == "average_precision":
        shape = ()
    elif name.startswith("bin_"):
        shape = (NUM_BINS,)
    elif name.endswith("histogram"):
        shape = (2, NUM_LEVELS)
    if array.shape != shape or array.dtype.kind not in "iuf":
        raise KIND.damaged(path, f"{name} has the shape {array.shape} and the type {array.dtype}, {shape} expected")
