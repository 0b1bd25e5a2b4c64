"""`--protocol true-colon`: COCO files read and joined as the package `true-colon` 0.1.1 does, then its figures.

Decisions:
- Frames are named by the file's name without folders and ending (`stem`), or by its prefix and number
  (`stem_int_suffix`, for REAL-Colon). Two frames of one name stop the work, as they do there.
- Integer image ids of predictions are those of the references; texts are file names. At most 100 detections a frame.
- A prediction without a frame is left out, and fewer than 95 % with one stop the work.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from polypseg.errors import ScoreError, UsageError, unknown_name
from polypseg.evaluate.procedures.coco_references import COCO
from polypseg.evaluate.procedures.findings import RESULTS
from polypseg.metrics.procedures.true_colon import (
    Boxes,
    Figures,
    afroc_figures,
    frame_figures,
    frame_scores,
    lesion_record,
    lesion_summary,
    matched_figures,
    pairs_of,
)
from polypseg.records.reading import read_json

MOST_DETECTIONS, LEAST_MATCHED, LESION_KEY = 100, 0.95, "unique_id"
REALCOLON_EXCLUDED = frozenset({"003-014_1", "004-014_1"})
"""Lesions whose latency its REAL-Colon preset leaves out."""


class TrueColon(NamedTuple):
    """Its tiers, each a dictionary with the package's own names.

    Attributes:
        frame: The confusion of frames.
        lesion: `summary` and `records`; None where no box carries a lesion.
        froc: On its grid.
        afroc: On its grid.
        matched: The matched threshold, at a false-positive rate of 0.045.
        num_frames: In the references.
        num_detections: That have a frame.
    """

    frame: Figures
    lesion: Figures | None
    froc: Figures
    afroc: Figures
    matched: Figures
    num_frames: int
    num_detections: int

    def as_dict(self) -> Figures:
        """All of it."""
        return self._asdict()


def evaluate_files(
    references: Path, predictions: Path, threshold: float = 0.2, names: str = "stem", min_iou: float = 0.0
) -> TrueColon:
    """The protocol on two COCO files; arguments and errors as `evaluate_true_colon`.

    Raises:
        ScoreError: A file cannot be read.
    """
    truth = read_json(references, dict[str, Any], COCO)
    found = read_json(predictions, list[Any], RESULTS)
    return evaluate_true_colon(truth, found, threshold, names, min_iou)


def evaluate_true_colon(
    truth: Mapping[str, Any], found: list[Any], threshold: float = 0.2, names: str = "stem", min_iou: float = 0.0
) -> TrueColon:
    """The protocol on COCO content.

    Args:
        truth: Images and annotations; annotations carry `unique_id` for the lesion tier.
        found: A results list.
        threshold: The operating point.
        names: `stem` or `stem_int_suffix`.
        min_iou: Above which boxes match.

    Raises:
        ScoreError: Two frames of one name, or too few predictions that belong to a frame.
        UsageError: An unknown rule of names.
    """
    if names not in RULES:
        raise UsageError(unknown_name("rule of names", names, RULES))
    rule, frame_number = RULES[names]
    places, by_id = _frames(truth, rule)
    records = _joined(_top(found), places, by_id, rule)
    boxed = [one for one in truth.get("annotations", []) if one.get("image_id") in by_id]
    boxed = [one for one in boxed if isinstance(one.get("bbox"), list)]
    boxed.sort(key=lambda one: by_id[one["image_id"]])  # stable: boxes of a frame stay in the file's order
    references = Boxes(_array([by_id[one["image_id"]] for one in boxed]), _boxes([one["bbox"] for one in boxed]))
    keys = list(places)
    records.sort(key=lambda one: (-one[1], repr(keys[one[0]]), one[2]))
    detections = Boxes(_array([one[0] for one in records]), _boxes([one[2] for one in records]))
    scores = np.array([one[1] for one in records], np.float64)
    positive, negative = frame_scores(len(places), detections, scores, references, min_iou)
    froc, afroc = afroc_figures(len(places), detections, scores, references, min_iou)
    shown = scores >= threshold
    lesions = _lesions(
        [one.get(LESION_KEY) for one in boxed],
        references,
        Boxes(detections.frame[shown], detections.box[shown]),
        ([frame_number(key) for key in keys], min_iou, names),
    )
    return TrueColon(
        frame_figures(positive, negative, threshold),
        lesions,
        froc,
        afroc,
        matched_figures(positive, negative),
        len(places),
        len(records),
    )


def _stem(text: str) -> str | None:
    return Path(text).stem if isinstance(text, str) and text else None


def _stem_number(text: str) -> str | None:
    stem = _stem(text)
    if stem is None or "_" not in stem:
        return None
    prefix, suffix = stem.rsplit("_", 1)
    try:
        return f"{prefix}_{int(suffix)}"
    except ValueError:
        return None


def _last_digits(key: str) -> int | None:
    match = re.search(r"\d+$", key)
    return int(match[0]) if match else None


def _after_line(key: str) -> int | None:
    try:
        return int(key.rsplit("_", 1)[1])
    except (ValueError, IndexError):
        return None


RULES: Mapping[str, tuple[Callable[[str], str | None], Callable[[str], int | None]]] = {
    "stem": (_stem, _last_digits),
    "stem_int_suffix": (_stem_number, _after_line),
}
"""How a frame is named, and how its number is read from the name."""


def _frames(truth: Mapping[str, Any], rule: Callable[[str], str | None]) -> tuple[dict[str, int], dict[Any, int]]:
    places: dict[str, int] = {}
    by_id: dict[Any, int] = {}
    for image in truth.get("images", []):
        key = rule(image.get("file_name"))
        if key is None:
            raise ScoreError(f"file_name {image.get('file_name')!r}: the rule of names does not fit; try the other one")
        if key in places:
            raise ScoreError(f"two frames are named {key}: the protocol drops folders and endings; rename the files")
        by_id[image.get("id")] = places[key] = len(places)
    return places, by_id


def _top(found: list[Any]) -> list[Mapping[str, Any]]:
    """The 100 highest of each image, the earlier first where scores are equal."""
    by_image: dict[Any, list[tuple[float, int, Mapping[str, Any]]]] = defaultdict(list)
    for place, one in enumerate(found):
        if isinstance(one, dict) and _number(one.get("score", 0.0)) is not None:
            by_image[one.get("image_id")].append((-float(one.get("score", 0.0)), place, one))
    ordered = (sorted(own, key=lambda item: item[:2])[:MOST_DETECTIONS] for own in by_image.values())
    return [one for own in ordered for _, _, one in own]


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _joined(
    found: list[Mapping[str, Any]],
    places: Mapping[str, int],
    by_id: Mapping[Any, int],
    rule: Callable[[str], str | None],
) -> list[tuple[int, float, list[float]]]:
    """Frame, score and box of each detection that has a frame."""
    has_numbers = any(isinstance(one.get("image_id"), int) for one in found)
    joined = []
    num_known = 0
    for one in found:
        name = one.get("image_id")
        if not has_numbers and not isinstance(name, str):
            name = one.get("file_name")
        place = by_id.get(name) if has_numbers else places.get(rule(name) or "") if isinstance(name, str) else None
        if place is None:
            continue
        num_known += 1
        box = one.get("bbox")
        if isinstance(box, list) and len(box) == 4:
            joined.append((place, float(one.get("score", 0.0)), [_number(value) or 0.0 for value in box]))
    if found and num_known / len(found) < LEAST_MATCHED:
        raise ScoreError(
            f"only {num_known:,} of {len(found):,} predictions name a frame of the references; expected their ids or "
            "file names"
        )
    return joined


def _lesions(
    lesions: list[Any],
    references: Boxes,
    detections: Boxes,
    rules: tuple[list[int | None], float, str],
) -> Figures | None:
    numbers, min_iou, names = rules
    visible: dict[str, set[int]] = defaultdict(set)
    for lesion, frame in zip(lesions, references.frame.tolist(), strict=True):
        if isinstance(lesion, str):
            visible[lesion].add(frame)
    if not visible:
        return None
    hit: dict[str, set[int]] = defaultdict(set)
    pairs = pairs_of(detections, references)
    for place in np.unique(pairs.reference[pairs.iou > min_iou]).tolist():
        if isinstance(lesions[place], str):
            hit[lesions[place]].add(int(references.frame[place]))
    records = []
    for lesion in sorted(visible):
        shown = [number for number in (numbers[frame] for frame in visible[lesion]) if number is not None]
        hits = [number for number in (numbers[frame] for frame in hit[lesion]) if number is not None]
        first = min(shown) if shown else None
        records.append(lesion_record(lesion, len(visible[lesion]), hits, len(hit[lesion]), first))
    excluded = REALCOLON_EXCLUDED if names == "stem_int_suffix" else frozenset()
    summary = lesion_summary(records, excluded)
    return {"summary": summary, "records": sorted(records, key=lambda one: (one["video_name"], one["lesion_id"]))}


def _array(values: list[int]) -> np.ndarray:
    return np.array(values, np.int64)


def _boxes(values: list[Any]) -> np.ndarray:
    return np.array([[_number(value) or 0.0 for value in box] for box in values], np.float64).reshape(-1, 4)
