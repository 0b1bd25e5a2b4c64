"""The facts of an evaluation in one place: procedures, tracks, outlines and looks, however they were gathered."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from polypseg.errors import ScoreError, UsageError
from polypseg.evaluate.procedures.findings import NO_TRACK, Findings, check_there, meet, read_findings
from polypseg.evaluate.procedures.frames import Frames, check_same_frames
from polypseg.evaluate.procedures.references import References, Sights
from polypseg.evaluate.procedures.video_tables import NOTE as VIDEO_TABLE_NOTE
from polypseg.evaluate.procedures.video_tables import find_video_tables, read_video_tables
from polypseg.evaluate.procedures.watch import Watched
from polypseg.metrics.procedures.alerts import stretches
from polypseg.metrics.procedures.tables import Flags, Numbers, Places, Procedures


@dataclass(frozen=True)
class Facts:
    """All that is known.

    Attributes:
        procedures: Frames, sights, findings, meetings.
        keys: The name of each frame.
        sights: With their boxes.
        findings: With boxes and tracks.
        dice: Shape (S,): where a lesion is found and masks are known; NaN elsewhere.
        boundary_iou: The same.
        looks: What is said of each lesion, by column.
        notes: What a reader must know of how they were gathered.
        has_outlines: Whether outlines are compared wherever a lesion is found.
    """

    procedures: Procedures
    keys: tuple[str, ...]
    sights: Sights
    findings: Findings
    dice: Numbers
    boundary_iou: Numbers
    looks: Mapping[str, Mapping[str, str]]
    notes: tuple[str, ...] = ()
    has_outlines: bool = False

    def withheld(self, num_frames: int) -> Procedures:
        """The procedures without the findings of a track that lasts at most so many frames in a row.

        Raises:
            ScoreError: Tracks are not known.
        """
        counting = self.counting(num_frames)
        return self.procedures if counting.all() else self.procedures.with_findings(counting)

    def counting(self, num_frames: int) -> Flags:
        """Shape (N,): the findings that are left where those of short tracks are withheld; errors as `withheld`."""
        tracked = self.findings.track != NO_TRACK
        if num_frames and not tracked.any() and len(tracked):
            raise ScoreError("the findings have no tracks, so that none can be withheld; evaluate the model on videos")
        kept = np.ones(len(tracked), bool)
        owner = self.procedures.procedure[self.findings.frame]
        order = np.lexsort([self.findings.frame, self.findings.track, owner])
        order = order[tracked[order]]
        if not len(order) or not num_frames:
            return kept
        frame = self.findings.frame[order]
        same = (np.diff(owner[order]) == 0) & (np.diff(self.findings.track[order]) == 0) & (np.diff(frame) <= 1)
        first, last = stretches(np.ones(len(order), bool), np.concatenate([[True], ~same]))
        for begins, ends in zip(first.tolist(), last.tolist(), strict=True):
            kept[order[begins : ends + 1]] = frame[ends] - frame[begins] + 1 > num_frames
        return kept


def facts_of_model(frames: Frames, watched: Watched, references: References) -> Facts:
    """The facts of a model that watched films.

    Raises:
        ScoreError: Frames are missing on one side.
    """
    findings = watched.findings
    if findings is None:
        raise ScoreError("nothing was watched")
    if references.frames is not None:
        check_same_frames(frames, references.frames)
    sights = references.sights_in(frames)
    if references.kind != "masks":
        return _joined(frames, findings, sights, meet(findings, sights), references)
    number = {name: place for place, name in enumerate(sights.lesions)}
    sight_at = {
        pair: place for place, pair in enumerate(zip(sights.frame.tolist(), sights.lesion.tolist(), strict=True))
    }
    begins = np.searchsorted(findings.frame, np.arange(len(frames.keys)))
    pairs = [(begins[frame] + finding, sight_at[frame, number[lesion]]) for frame, finding, lesion in watched.touching]
    met = np.array(pairs, np.int64).reshape(-1, 2)
    facts = _joined(frames, findings, sights, (met[:, 0], met[:, 1]), references)
    dice, boundary = (np.full(len(sights.frame), np.nan) for _ in range(2))
    for (frame, lesion), outline in watched.outlines.items():
        place = sight_at[frame, number[lesion]]
        dice[place], boundary[place] = outline
    return replace(facts, dice=dice, boundary_iou=boundary, has_outlines=True)


def facts_of_predictions(path: Path, references: References, threshold: float = 0.0, min_iou: float = 0.0) -> Facts:
    """The facts of saved findings.

    Args:
        path: As `read_findings`, or tables of videos as `find_video_tables`, which tell the frames and their times.
        references: With their own frames; without, only for tables of videos.
        threshold: Findings of lower scores are left out.
        min_iou: Above which boxes meet.

    Raises:
        ScoreError: They do not fit, or the references do not tell the frames.
        UsageError: Nobody tells the time.
    """
    check_there(path)
    tables = find_video_tables(path)
    if tables:
        frames, findings = read_video_tables(tables, references.frames)
        if references.frames is not None:
            check_same_frames(frames, references.frames, "tables")
        findings = findings.kept(findings.score >= threshold)
        sights = references.sights_in(frames)
        joined = _joined(frames, findings, sights, meet(findings, sights, min_iou), references)
        return replace(joined, notes=(VIDEO_TABLE_NOTE,))
    if references.frames is None:
        raise ScoreError(
            f"{references.source}: intervals do not tell how many frames a procedure has; add a column num_frames"
        )
    if not references.is_timed:
        raise UsageError(f"{references.source}: masks tell no time; name the frames a second with --frame-rate")
    frames = references.frames
    findings = read_findings(path, frames, references, threshold)
    sights = references.sights_in(frames)
    return _joined(frames, findings, sights, meet(findings, sights, min_iou), references)


def _joined(
    frames: Frames, findings: Findings, sights: Sights, met: tuple[Places, Places], references: References
) -> Facts:
    procedures = Procedures(
        frames.names,
        frames.procedure,
        frames.seconds,
        sights.lesions,
        sights.lesion_procedure,
        sights.frame,
        sights.lesion,
        sights.percent,
        findings.frame,
        findings.score,
        findings.percent,
        *met,
        is_located=references.is_located,
    )
    unknown = np.full(len(sights.frame), np.nan)
    return Facts(procedures, frames.keys, sights, findings, unknown, unknown, references.looks)
