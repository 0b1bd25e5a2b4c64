"""`--protocol true-colon`: the figures of the package `true-colon` 0.1.1 on the same two COCO files.

`true_colon_files` reads and joins the files, `metrics.procedures.true_colon` makes the figures.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from polypseg.errors import UsageError, unknown_name
from polypseg.evaluate.procedures.coco_references import COCO
from polypseg.evaluate.procedures.findings import RESULTS
from polypseg.evaluate.procedures.true_colon_files import RULES, Found, Rule, Truth
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
from polypseg.records.json_stream import stream_members

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
        num_left_out: Predictions that name no frame, and boxes of the references that do.
    """

    frame: Figures
    lesion: Figures | None
    froc: Figures
    afroc: Figures
    matched: Figures
    num_frames: int
    num_detections: int
    num_left_out: tuple[int, int]

    def as_dict(self) -> Figures:
        """All of it."""
        return self._asdict()


def evaluate_files(
    references: Path, predictions: Path, threshold: float = 0.2, names: str = "stem", min_iou: float = 0.0
) -> TrueColon:
    """The protocol on two COCO files, which are read record by record; arguments and errors as `evaluate_true_colon`.

    Raises:
        ScoreError: A file cannot be read.
    """
    rule = _rule(names)
    truth = Truth(references, rule)
    gatherers = {"images": truth.add_image, "annotations": truth.add_annotation}
    lacking = set(gatherers)
    for key, value in stream_members(references, COCO):
        if not key:
            raise COCO.damaged(references, "a list, not an object with images and annotations")
        if key not in gatherers:
            continue
        if not isinstance(value, Iterator):
            raise COCO.damaged(references, f"{key} is no list")
        lacking.discard(key)
        for record in value:
            gatherers[key](record)
    if lacking or not truth.places:
        raise COCO.damaged(references, "no images or no annotations")
    found = Found(predictions, rule, truth)
    for key, value in stream_members(predictions, RESULTS):
        if key or not isinstance(value, Iterator):
            raise RESULTS.damaged(predictions, "an object, not a list")
        for record in value:
            found.add(record)
    return _figures(truth, found, threshold, rule, min_iou)


def evaluate_true_colon(
    truth: Mapping[str, Any], found: Sequence[Any], threshold: float = 0.2, names: str = "stem", min_iou: float = 0.0
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
    rule = _rule(names)
    gathered = Truth("references", rule)
    for image in truth.get("images", []):
        gathered.add_image(image)
    for annotation in truth.get("annotations", []):
        gathered.add_annotation(annotation)
    predictions = Found("predictions", rule, gathered)
    for one in found:
        predictions.add(one)
    return _figures(gathered, predictions, threshold, rule, min_iou)


def _rule(names: str) -> Rule:
    if names not in RULES:
        raise UsageError(unknown_name("rule of names", names, RULES))
    return RULES[names]


def _figures(truth: Truth, found: Found, threshold: float, rule: Rule, min_iou: float) -> TrueColon:
    references, lesions, num_orphans = truth.boxes()
    marks = found.marks()
    detections, scores, num_frames = marks.boxes, marks.scores, len(truth.places)
    positive, negative = frame_scores(num_frames, detections, scores, references, min_iou)
    froc, afroc = afroc_figures(num_frames, detections, scores, references, min_iou)
    shown = scores >= threshold
    hit = _hit(lesions, references, Boxes(detections.frame[shown], detections.box[shown]), min_iou)
    return TrueColon(
        frame_figures(positive, negative, threshold),
        _lesions(lesions, references, hit, truth, rule),
        froc,
        afroc,
        matched_figures(positive, negative),
        num_frames,
        len(scores),
        (marks.num_left_out, num_orphans),
    )


def _hit(lesions: Sequence[str | None], references: Boxes, detections: Boxes, min_iou: float) -> Mapping[str, set[int]]:
    """The frames in which each lesion is detected."""
    hit: dict[str, set[int]] = defaultdict(set)
    pairs = pairs_of(detections, references)
    for place in np.unique(pairs.reference[pairs.iou > min_iou]).tolist():
        lesion = lesions[place]
        if lesion is not None:
            hit[lesion].add(int(references.frame[place]))
    return hit


def _lesions(
    lesions: Sequence[str | None], references: Boxes, hit: Mapping[str, set[int]], truth: Truth, rule: Rule
) -> Figures | None:
    visible: dict[str, set[int]] = defaultdict(set)
    for lesion, frame in zip(lesions, references.frame.tolist(), strict=True):
        if lesion is not None:
            visible[lesion].add(frame)
    if not visible:
        return None
    keys = list(truth.places)

    def numbers(frames: set[int]) -> list[int]:
        found = (rule.number(keys[frame]) for frame in frames)
        return [number for number in found if number is not None]

    records = []
    for lesion in sorted(visible):
        hits = hit.get(lesion, set())
        first = min(numbers(visible[lesion]), default=None)
        records.append(lesion_record(lesion, len(visible[lesion]), numbers(hits), len(hits), first))
    excluded = REALCOLON_EXCLUDED if rule is RULES["stem_int_suffix"] else frozenset()
    summary = lesion_summary(records, excluded)
    return {"summary": summary, "records": sorted(records, key=lambda one: (one["video_name"], one["lesion_id"]))}
