"""The gate: whether a model that was trained again may take the served one's place by itself.

Both models see the same frames: what the project holds out, and the reference set. Dice is over frames with a polyp;
frames without one count apart, by whether anything is marked.

Decisions:
- A model is worse where its mean Dice on the project's frames is lower by more than 0.005, on the reference by more
  than 0.01, or where it marks more frames without a polyp: of the project any, of the reference more than 2 %. Small
  sets prove nothing either way: their intervals are told, and a person may decide otherwise.
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from polypseg.data.catalogue import find_samples
from polypseg.data.project_frames import labelled_samples
from polypseg.errors import ProjectError
from polypseg.metrics.overlap import dice
from polypseg.metrics.statistics import bootstrap_mean
from polypseg.predict.predictor import Predictor
from polypseg.preprocess import read_image, read_mask
from polypseg.progress import Track, silent
from polypseg.records.project import REFERENCE, GateComparison, SetComparison

MOST_LOST_ON_PROJECT, MOST_LOST_ON_REFERENCE = 0.005, 0.01
"""Of the mean Dice."""

MOST_MORE_MARKED = 0.02
"""Of the reference's frames without a polyp."""


class Compared(NamedTuple):
    """A frame that both models see.

    Attributes:
        image_path: The image.
        mask_path: Its reference mask.
        group: What it belongs to.
    """

    image_path: Path
    mask_path: Path
    group: str


class Models(NamedTuple):
    """The two models.

    Attributes:
        old: The served one.
        new: The trained one.
        digests: SHA-256 of both files.
    """

    old: Predictor
    new: Predictor
    digests: tuple[str, str]


def held_out_frames(folder: Path) -> list[Compared]:
    """The labelled frames that a project holds out."""
    return [
        Compared(sample.image_path, sample.mask_path, sample.group or sample.name)
        for sample in labelled_samples(folder)[0]
        if sample.is_held_out and sample.mask_path is not None
    ]


def reference_frames(folder: Path, groups: dict[str, str]) -> list[Compared]:
    """The frames of a project's reference set that compare models; none where it has none."""
    place = folder / REFERENCE / "test"
    if not place.is_dir():
        return []
    return [
        Compared(sample.image_path, sample.mask_path, groups.get(sample.name, f"frame {sample.name}"))
        for sample in find_samples(place)[0]
        if sample.mask_path is not None
    ]


def compare_models(
    models: Models, project: Sequence[Compared], reference: Sequence[Compared], track: Track = silent
) -> GateComparison:
    """What both models do on both sets, and whether the new one is worse.

    Raises:
        ProjectError: The project holds nothing out yet.
        ImageError: A frame cannot be read.
    """
    if not project:
        raise ProjectError("no labelled frame is held out to compare models on; label frames of more groups")
    of_project = _compare_on(models, track(project, "comparing on the project", len(project)))
    of_reference = (
        _compare_on(models, track(reference, "comparing on the reference set", len(reference))) if reference else None
    )
    reasons = _reasons("the project's held-out frames", of_project, MOST_LOST_ON_PROJECT, 0)
    if of_reference is not None:
        allowed = math.floor(MOST_MORE_MARKED * of_reference.negatives)
        reasons += _reasons("the reference set", of_reference, MOST_LOST_ON_REFERENCE, allowed)
    return GateComparison(
        project=of_project,
        reference=of_reference,
        is_worse=bool(reasons),
        reasons=reasons,
        old_digest=models.digests[0],
        new_digest=models.digests[1],
    )


def _compare_on(models: Models, frames: Iterable[Compared]) -> SetComparison:
    scores: list[tuple[float, float]] = []
    groups: list[str] = []
    marked: list[tuple[bool, bool]] = []
    for frame in frames:
        image, reference = read_image(frame.image_path), read_mask(frame.mask_path)
        masks = models.old.predict(image).mask, models.new.predict(image).mask
        if reference.any():
            scores.append((dice(masks[0], reference), dice(masks[1], reference)))
            groups.append(frame.group)
        else:
            marked.append((bool(masks[0].any()), bool(masks[1].any())))
    old, new = np.asarray(scores, np.float64).reshape(-1, 2).T
    interval = bootstrap_mean(new - old, groups) if scores else None
    return SetComparison(
        frames=len(scores),
        old=float(old.mean()) if scores else None,
        new=float(new.mean()) if scores else None,
        difference=interval.value if interval else None,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        negatives=len(marked),
        old_marked=sum(pair[0] for pair in marked),
        new_marked=sum(pair[1] for pair in marked),
    )


def _reasons(what: str, found: SetComparison, most_lost: float, more_marked: int) -> list[str]:
    reasons = []
    if found.difference is not None and found.difference < -most_lost:
        reasons.append(f"on {what} its mean Dice is {found.new:.3f}, that of the served model {found.old:.3f}")
    if found.new_marked > found.old_marked + more_marked:
        reasons.append(
            f"on {what} it marks {found.new_marked} of {found.negatives} frames without a polyp, the served model "
            f"{found.old_marked}"
        )
    return reasons
