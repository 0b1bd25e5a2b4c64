"""What a detector found, in columns; and which finding meets which lesion, by boxes.

Decisions:
- A COCO results list names its image by the file's number, or by a text: the file name with its folders, with or
  without ending. A name without folders is taken where it is the only one so named.
- Our own table has a row a finding: procedure, frame, x, y, width, height, score, area_percent, track.
- A finding for a frame that is not there stops the work: it is a sign of wrong names, and scores would be too low.
- Boxes meet where their IoU is more than `min_iou`; 0 means any shared area.
"""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from polypseg.errors import ScoreError
from polypseg.evaluate.procedures.frames import Frames
from polypseg.evaluate.procedures.references import References, Sights
from polypseg.metrics.procedures.tables import Flags, Numbers, Places
from polypseg.records.json_stream import stream_members
from polypseg.records.reading import FileKind, stream_cells

RESULTS = FileKind("COCO results list", ScoreError, "expected a list of image_id, bbox and score", 4096)
TABLE = FileKind(
    "table of findings",
    ScoreError,
    "expected the findings.csv of polypseg evaluate, or the tables of videos of polypseg predict",
    4096,
)
TABLE_COLUMNS = ("procedure", "frame", "x", "y", "width", "height", "score", "area_percent", "track")
NO_TRACK = -1


@dataclass(frozen=True)
class Findings:
    """Found regions or boxes, by frame.

    Attributes:
        frame: Shape (N,).
        box: Shape (N, 4): x, y, width, height in pixels.
        score: Shape (N,), in [0, 1].
        percent: Shape (N,): area in per cent of the frame; NaN where unknown.
        track: Shape (N,): number within the procedure; `NO_TRACK` where unknown.
    """

    frame: Places
    box: Numbers
    score: Numbers
    percent: Numbers
    track: Places

    def kept(self, wanted: Flags) -> "Findings":
        """Those of them."""
        return Findings(*(getattr(self, name)[wanted] for name in ("frame", "box", "score", "percent", "track")))


class FindingRows:
    """Gathers findings one by one, in any order, in a few bytes each."""

    def __init__(self) -> None:
        self._frames, self._tracks = array("q"), array("q")
        self._values = array("d")

    def add(
        self, frame: int, box: Sequence[float], score: float, percent: float = np.nan, track: int = NO_TRACK
    ) -> None:
        """Add a finding: its box is x, y, width, height in pixels, its area in per cent of the frame."""
        self._frames.append(frame)
        self._tracks.append(track)
        self._values.extend((*box, score, percent))

    def findings(self, source: Path | str) -> Findings:
        """All of them, sorted by frame.

        Raises:
            ScoreError: A score outside [0, 1], a box without four finite numbers or with a negative side.
        """
        frame, track = (np.array(column, np.int64) for column in (self._frames, self._tracks))
        values = np.array(self._values, np.float64).reshape(-1, 6)
        box, score, percent = values[:, :4], values[:, 4], values[:, 5]
        outside = np.flatnonzero(~((score >= 0) & (score <= 1)))
        if outside.size:
            raise ScoreError(f"{source}: a score is {score[outside[0]]:g}; expected 0 to 1: divide percentages by 100")
        odd = np.flatnonzero(~np.isfinite(box).all(axis=1) | (box[:, 2:] < 0).any(axis=1))
        if odd.size:
            raise ScoreError(f"{source}: a box is {box[odd[0]].tolist()}; expected x, y, width, height in pixels")
        order = np.argsort(frame, kind="stable")
        return Findings(frame[order], box[order], score[order], percent[order], track[order])


def read_findings(path: Path, frames: Frames, references: References, threshold: float = 0.0) -> Findings:
    """Another program's findings.

    Args:
        path: A COCO results list (.json), or a findings.csv; a folder is searched for the latter.
        frames: Those that are evaluated.
        references: For the numbers of images.
        threshold: Findings of lower scores are left out.

    Raises:
        ScoreError: It cannot be understood, or names frames that are not there.
    """
    path = path / "findings.csv" if path.is_dir() else path
    check_there(path)
    read = _results if path.suffix.lower() == ".json" else _table
    found = read(path, frames, references)
    return found.kept(found.score >= threshold)


def check_there(path: Path) -> None:
    """Nothing, if there is such a file or folder.

    Raises:
        ScoreError: There is none.
    """
    if not path.exists():
        raise ScoreError(
            f"{path}: no such predictions; expected a COCO results list (.json), a findings.csv or tables of videos"
        )


def meet(findings: Findings, sights: Sights, min_iou: float = 0.0) -> tuple[Places, Places]:
    """Finding and sight of each pair in one frame whose boxes meet.

    Args:
        findings: Sorted by frame.
        sights: Sorted by frame.
        min_iou: Their IoU must be more.
    """
    begins = np.searchsorted(sights.frame, findings.frame, side="left")
    numbers = np.searchsorted(sights.frame, findings.frame, side="right") - begins
    finding = np.repeat(np.arange(len(findings.frame)), numbers)
    within = np.arange(len(finding)) - np.repeat(np.cumsum(numbers) - numbers, numbers)
    sight = begins[finding] + within
    overlap = box_iou(sights.box[sight], findings.box[finding])
    is_met = np.isnan(sights.box[sight, 0]) | (overlap > min_iou)
    return finding[is_met], sight[is_met]


def box_iou(first: Numbers, second: Numbers) -> Numbers:
    """IoU of boxes (x, y, width, height), pair by pair; 0 where the union is empty.

    >>> box_iou(np.array([[0, 0, 2, 2.0]]), np.array([[1, 0, 2, 2.0]]))
    array([0.33333333])
    """
    wide = np.minimum(first[:, 0] + first[:, 2], second[:, 0] + second[:, 2]) - np.maximum(first[:, 0], second[:, 0])
    high = np.minimum(first[:, 1] + first[:, 3], second[:, 1] + second[:, 3]) - np.maximum(first[:, 1], second[:, 1])
    shared = np.maximum(0.0, wide) * np.maximum(0.0, high)
    areas = first[:, 2] * first[:, 3] + second[:, 2] * second[:, 3] - shared
    return np.asarray(np.divide(shared, areas, out=np.zeros_like(shared), where=areas > 0))


def _results(path: Path, frames: Frames, references: References) -> Findings:
    named = _Named(frames, references.image_ids)
    rows = FindingRows()
    unknown: dict[str, int] = {}
    for record in _records(path):
        place = named.place(record.get("image_id"))
        if place is None:
            name = str(record.get("image_id"))
            unknown[name] = unknown.get(name, 0) + 1
            continue
        try:
            box = record["bbox"]
            x, y, width, height = map(float, box)
            track = NO_TRACK if record.get("track") is None else int(record["track"])
            percent = np.nan if record.get("area_percent") is None else float(record["area_percent"])
            rows.add(place, (x, y, width, height), float(record["score"]), percent, track)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            what = f"a record of image {record.get('image_id')} lacks a bbox of four numbers, or a score"
            raise RESULTS.damaged(path, what) from error
    _refuse_unknown(path, unknown, frames)
    return rows.findings(path)


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a results list, one after another."""
    for key, listed in stream_members(path, RESULTS):
        if key or not isinstance(listed, Iterator):
            raise RESULTS.damaged(path, f"an object with {key!r}, not a list")
        for record in listed:
            if not isinstance(record, dict):
                raise RESULTS.damaged(path, f"a record is {record!r}")
            yield record


class _Named:
    """The places of frames by what a results list calls them."""

    def __init__(self, frames: Frames, image_ids: Mapping[int, int]) -> None:
        self._frames, self._image_ids = frames, image_ids

    @cached_property
    def _names(self) -> dict[str, int]:
        return _names(self._frames)

    def place(self, image: Any) -> int | None:
        """The place of a number or a text; None where there is none, or several are so named."""
        if isinstance(image, int):
            return self._image_ids.get(image)
        if not isinstance(image, str):
            return None
        for name in (image, str(PurePosixPath(image).with_suffix("")) if PurePosixPath(image).name else image):
            place = self._names.get(name)
            if place is not None:
                return place if place >= 0 else None
        return None


def _names(frames: Frames) -> dict[str, int]:
    """The place of each frame by every text that names it alone; -1 where several have it."""
    named: dict[str, int] = {}
    for (procedure, key), place in frames.places.items():
        for name in {f"{procedure}/{key}", key}:
            named[name] = -1 if name in named else place
    return named


def _refuse_unknown(path: Path, unknown: Mapping[str, int], frames: Frames) -> None:
    if unknown:
        example = next(iter(frames.places))
        raise ScoreError(
            f"{path}: {sum(unknown.values()):,} findings name frames that are not there, or several, as "
            f"{next(iter(unknown))}; expected the references' ids or names, as {'/'.join(example)}"
        )


def _table(path: Path, frames: Frames, _: References) -> Findings:
    rows = FindingRows()
    unknown: dict[str, int] = {}
    places = frames.places
    for number, cells in enumerate(stream_cells(path, TABLE_COLUMNS[:7], TABLE, TABLE_COLUMNS[7:]), 2):
        procedure, frame, *box, score, percent, track = cells
        place = places.get((procedure, frame))
        if place is None:
            name = f"{procedure}/{frame}"
            unknown[name] = unknown.get(name, 0) + 1
            continue
        try:
            values = float(percent or "nan"), int(track or NO_TRACK)
            rows.add(place, tuple(map(float, box)), float(score), *values)
        except ValueError as error:
            raise TABLE.damaged(path, f"line {number}: {error}") from error
    _refuse_unknown(path, unknown, frames)
    return rows.findings(path)
