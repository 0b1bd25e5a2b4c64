"""The pictures of single images: the best, the median and the worst ones, and the largest false alarms.

Decisions:
- Each picture is an image beside itself with what was found, missed and falsely marked laid over it, small enough
  for a page (JPEG, 420 px).
- The files are those that the evaluation recorded; one that is gone, or has other bytes now, gives a case that says
  so in place of the picture.
- An evaluation of maps whose images are unknown shows the masks on a dark ground.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from polypseg.arrays import Image, Mask
from polypseg.errors import PolypsegError, ScoreError
from polypseg.overlay import DOUBTFUL, compare_overlay, contour, line_width_px, overlay
from polypseg.predict.nested import doubtful_band
from polypseg.preprocess import MaskRule, read_image, read_mask, resize_image
from polypseg.records.evaluation_record import RecordedFile, ScoredImage
from polypseg.report.figures import pick_cases
from polypseg.report.report_input import ReportInput
from polypseg.report.tables import figure

SIDE_PX = 420
JPEG_QUALITY = 85
GROUND = 40
"""Grey level of the ground where there is no image."""


@dataclass(frozen=True)
class ExampleImage:
    """One image in a report.

    Attributes:
        name: Of the image.
        facts: Its scores, in words.
        pictures: Alternative text and data URI of each picture; empty where there is none.
        missing: Why there is no picture; empty where there is one.
    """

    name: str
    facts: str
    pictures: tuple[tuple[str, str], ...] = ()
    missing: str = ""


def choose_cases(record: ReportInput, count: int, with_pictures: bool = True) -> dict[str, list[ExampleImage]]:
    """The worst, median and best images, and the largest false alarms, by these names; an empty group is left out.

    Args:
        record: What was scored.
        count: Images a group.
        with_pictures: Read the images; False gives their names and scores alone.
    """
    if not count:
        return {}
    polyps, polyp_free = record.polyps, record.polyp_free
    chosen = pick_cases(polyps.dice, count) if len(polyps) else {}
    groups = {label: [polyps.names[place] for place in places] for label, places in chosen.items()}
    facts = _polyp_facts(record) | _false_alarm_facts(record)
    marked = np.nan_to_num(polyp_free.predicted_px)
    order = [place for place in np.argsort(-marked, kind="stable")[:count] if marked[place] > 0]
    groups["largest false alarms"] = [polyp_free.names[place] for place in order]
    samples = {sample.name: sample for sample in record.details.samples}
    return {
        label: [
            _drawn(record, samples.get(name, ScoredImage(name=name)), name, facts[name])
            if with_pictures
            else ExampleImage(name, facts[name])
            for name in names
        ]
        for label, names in groups.items()
        if names
    }


def _polyp_facts(record: ReportInput) -> dict[str, str]:
    polyps = record.polyps
    columns = zip(polyps.names, polyps.dice, polyps.values["iou"], polyps.polyp_percent, strict=True)
    return {
        name: f"Dice {figure(dice)}, IoU {figure(iou)}, polyp {percent:.1f} % of the image"
        for name, dice, iou, percent in columns
    }


def _false_alarm_facts(record: ReportInput) -> dict[str, str]:
    free = record.polyp_free
    shares = zip(free.names, free.predicted_percent, strict=True)
    return {name: f"no polyp; {share:.1f} % of the image marked" for name, share in shares}


def _drawn(record: ReportInput, sample: ScoredImage, name: str, facts: str) -> ExampleImage:
    try:
        predicted = record.evaluation.predicted_mask(name)
        reference = _reference(sample, predicted)
        image = _image(sample, reference)
    except (PolypsegError, OSError) as error:
        return ExampleImage(name, facts, missing=str(error).partition("\n")[0])
    ground = np.full((*reference.shape, 3), GROUND, np.uint8) if image is None else image
    laid = compare_overlay(ground, predicted, reference)
    if reference.any():
        laid = contour(laid, reference, width_px=line_width_px(laid.shape))
    pictures = [] if image is None else [(f"{name}: the image", data_uri(image))]
    pictures.append((f"{name}: {_seen(predicted, reference)}", data_uri(laid)))
    if (band := _band(record, name, predicted)) is not None:
        shown = contour(overlay(ground, band, DOUBTFUL), predicted, width_px=line_width_px(ground.shape))
        share = 100 * np.count_nonzero(band) / band.size
        pictures.append(
            (f"{name}: {share:.1f} % of the image lie between the inner and the outer mask", data_uri(shown))
        )
    return ExampleImage(name, facts, tuple(pictures))


def _band(record: ReportInput, name: str, predicted: Mask) -> Mask | None:
    """What lies between the saved inner and outer mask; None without a calibration.

    Raises:
        ScoreError: A mask has another size than the prediction.
    """
    paths = {side: record.evaluation.nested_path(side, name) for side in ("outer", "inner")}
    found = {side: read_mask(path) for side, path in paths.items() if record.held and path.is_file()}
    if any(mask.shape != predicted.shape for mask in found.values()):
        raise ScoreError(f"{name}: the saved inner or outer mask has another size than the mask; score again")
    return doubtful_band(predicted, found.get("outer"), found.get("inner"))


def _reference(sample: ScoredImage, predicted: Mask) -> Mask:
    """The recorded reference; without one the image shows no polyp."""
    if sample.reference is None:
        return np.zeros(predicted.shape, bool)
    rule = MaskRule.parse(sample.mask_rule)
    reference = read_mask(_unchanged(sample.reference), rule)
    if reference.shape != predicted.shape:
        raise ScoreError(f"{sample.reference.path}: its size is not that of the saved prediction")
    return reference


def _image(sample: ScoredImage, reference: Mask) -> Image | None:
    if sample.image is None:
        return None
    return resize_image(read_image(_unchanged(sample.image)), (reference.shape[0], reference.shape[1]))


def _unchanged(file: RecordedFile) -> Path:
    """The path of a recorded file that still has its bytes.

    Raises:
        ScoreError: It is gone, or has others.
    """
    path = Path(file.path)
    if not path.is_file():
        raise ScoreError(f"{path} is not there any more")
    if hashlib.sha256(path.read_bytes()).hexdigest() != file.sha256:
        raise ScoreError(f"{path} was changed after it was scored")
    return path


def _seen(predicted: Mask, reference: Mask) -> str:
    """What an overlay shows, in words."""
    alarms = 100 * np.count_nonzero(predicted & ~reference) / predicted.size
    if not reference.any():
        return f"no polyp, {alarms:.1f} % of the image falsely marked"
    found = 100 * np.count_nonzero(predicted & reference) / np.count_nonzero(reference)
    return f"{found:.0f} % of the polyp's pixels found, {alarms:.1f} % of the image falsely marked"


def data_uri(image: Image) -> str:
    """The image as a JPEG of at most SIDE_PX, in the text of a page.

    Raises:
        ScoreError: It cannot be encoded.
    """
    scale = min(1.0, SIDE_PX / max(image.shape[:2]))
    size = max(1, round(scale * image.shape[0])), max(1, round(scale * image.shape[1]))
    small = cv2.cvtColor(resize_image(image, size), cv2.COLOR_RGB2BGR)
    is_encoded, content = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not is_encoded:
        raise ScoreError(f"a picture of {image.shape} cannot be encoded as JPEG")
    return f"data:image/jpeg;base64,{base64.b64encode(content.tobytes()).decode()}"


def any_missing(groups: Mapping[str, Sequence[ExampleImage]]) -> bool:
    """Whether a picture could not be drawn."""
    return any(case.missing for cases in groups.values() for case in cases)
