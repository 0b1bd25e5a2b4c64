"""The facts of procedures in columns: frames, lesions in sight, findings, and which finding meets which lesion.

Decisions:
- A sight is one lesion in one frame in which it is visible. A finding is one predicted region or box, with a score.
  Where they meet is decided once, where the tables are made; all figures follow from these columns alone.
- A finding counts at a threshold where its score reaches it. What is not found has the score -inf.
- Masks, boxes and intervals give the same columns. An interval says when a lesion is visible and not where: then every
  finding of a frame meets every lesion of it (`is_located` is False): a finding is false in clean frames only.
- Everything is columns of NumPy: 100,000 frames take a few MB.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from polypseg.errors import ScoreError

Numbers = NDArray[np.float64]
Places = NDArray[np.int64]
Flags = NDArray[np.bool_]

NEVER = -np.inf
"""The score of what was not found."""


@dataclass(frozen=True)
class Procedures:
    """Procedures with their frames (F), sights (S), findings (N) and meetings (K).

    Attributes:
        names: Of the P procedures.
        procedure: Shape (F,): the procedure of each frame; the frames of a procedure follow one another in time.
        seconds: Shape (F,): since the procedure's first frame.
        lesions: Names of the L lesions.
        lesion_procedure: Shape (L,): where each was seen.
        sight_frame: Shape (S,), as the next two.
        sight_lesion: The lesion.
        sight_percent: Its area in per cent of the frame; NaN where unknown.
        finding_frame: Shape (N,), as the next two.
        finding_score: In [0, 1].
        finding_percent: Its area in per cent of the frame; NaN where unknown.
        meeting_finding: Shape (K,).
        meeting_sight: Shape (K,).
        is_located: Whether a finding elsewhere in the frame of a lesion is known to be false.
    """

    names: tuple[str, ...]
    procedure: Places
    seconds: Numbers
    lesions: tuple[str, ...]
    lesion_procedure: Places
    sight_frame: Places
    sight_lesion: Places
    sight_percent: Numbers
    finding_frame: Places
    finding_score: Numbers
    finding_percent: Numbers
    meeting_finding: Places
    meeting_sight: Places
    is_located: bool = True

    def __post_init__(self) -> None:
        """Refuse what does not fit together.

        Raises:
            ScoreError: Columns of different length, procedures or times out of order, a lesion without a frame.
        """
        groups = (
            (self.procedure, self.seconds),
            (self.sight_frame, self.sight_lesion, self.sight_percent),
            (self.finding_frame, self.finding_score, self.finding_percent),
            (self.meeting_finding, self.meeting_sight),
            (self.lesion_procedure, np.asarray(self.lesions)),
        )
        for columns in groups:
            if len({len(column) for column in columns}) > 1:
                raise ScoreError(f"columns of {[len(column) for column in columns]} rows; expected equal numbers")
        same = np.diff(self.procedure) == 0
        if np.any(np.diff(self.procedure) < 0) or np.any(np.diff(self.seconds)[same] <= 0):
            place = int(np.flatnonzero(np.where(same, np.diff(self.seconds) <= 0, np.diff(self.procedure) < 0))[0]) + 1
            name = self.names[self.procedure[place]]
            raise ScoreError(f"{name}: frames out of order in time; expected each later than the one before: sort them")
        unseen = np.flatnonzero(np.bincount(self.sight_lesion, minlength=len(self.lesions)) == 0)
        if unseen.size:
            raise ScoreError(
                f"lesion {self.lesions[unseen[0]]}: visible in no frame; remove it or add the frames that show it"
            )

    @property
    def num_frames(self) -> int:
        """F."""
        return len(self.procedure)

    @cached_property
    def is_first(self) -> Flags:
        """Shape (F,): the first frame of each procedure."""
        return np.concatenate([[True], np.diff(self.procedure) != 0])[: self.num_frames]

    @cached_property
    def frame_seconds(self) -> Numbers:
        """Shape (P,): how long a frame lasts, the median step of each procedure; NaN where it has one frame."""
        steps = np.diff(self.seconds)[~self.is_first[1:]]
        owner = self.procedure[1:][~self.is_first[1:]]
        return np.array(
            [np.median(steps[owner == place]) if np.any(owner == place) else np.nan for place in range(len(self.names))]
        )

    @cached_property
    def has_lesion(self) -> Flags:
        """Shape (F,): frames in which a lesion is visible; the others are clean."""
        return np.bincount(self.sight_frame, minlength=self.num_frames) > 0

    @cached_property
    def is_true(self) -> Flags:
        """Shape (N,): findings that meet a lesion, or that may, where nobody knows the place."""
        met = np.bincount(self.meeting_finding, minlength=len(self.finding_frame)) > 0
        return met if self.is_located else met | self.has_lesion[self.finding_frame]

    @cached_property
    def sight_score(self) -> Numbers:
        """Shape (S,): the highest score of a finding that meets the lesion there."""
        return _highest(self.meeting_sight, self.finding_score[self.meeting_finding], len(self.sight_frame))

    @cached_property
    def found_score(self) -> Numbers:
        """Shape (F,): the highest score of a finding that meets any lesion of the frame."""
        return _highest(self.sight_frame, self.sight_score, self.num_frames)

    @cached_property
    def top_score(self) -> Numbers:
        """Shape (F,): the highest score of any finding of the frame."""
        return _highest(self.finding_frame, self.finding_score, self.num_frames)

    @cached_property
    def false_score(self) -> Numbers:
        """Shape (F,): the highest score of a false finding of the frame."""
        false = ~self.is_true
        return _highest(self.finding_frame[false], self.finding_score[false], self.num_frames)

    @cached_property
    def thresholds(self) -> Numbers:
        """All scores, each once, the highest first: between two of them no figure changes."""
        return np.unique(self.finding_score)[::-1]

    def frames_for(self, seconds: float) -> Places:
        """Shape (P,): how many frames last so long, at least 1; a procedure of one frame counts it alone."""
        wanted = np.ceil(seconds / np.nan_to_num(self.frame_seconds, nan=np.inf) - 1e-6)
        return np.maximum(1, wanted).astype(np.int64)

    def chosen(self, names: list[str]) -> "Procedures":
        """The procedures of these names alone.

        Raises:
            ScoreError: A name is unknown.
        """
        unknown = [name for name in names if name not in self.names]
        if unknown:
            raise ScoreError(f"no procedure {unknown[0]!r}; there are: {', '.join(self.names[:10])}")
        wanted = np.isin(np.array(self.names), names)
        frames, lesions = wanted[self.procedure], wanted[self.lesion_procedure]
        findings, sights = frames[self.finding_frame], frames[self.sight_frame]
        meetings = findings[self.meeting_finding]
        new_frame, new_lesion, new_finding, new_sight, new_name = (
            np.cumsum(kept) - 1 for kept in (frames, lesions, findings, sights, wanted)
        )
        return Procedures(
            tuple(name for name, is_kept in zip(self.names, wanted, strict=True) if is_kept),
            new_name[self.procedure[frames]],
            self.seconds[frames],
            tuple(name for name, is_kept in zip(self.lesions, lesions, strict=True) if is_kept),
            new_name[self.lesion_procedure[lesions]],
            new_frame[self.sight_frame[sights]],
            new_lesion[self.sight_lesion[sights]],
            self.sight_percent[sights],
            new_frame[self.finding_frame[findings]],
            self.finding_score[findings],
            self.finding_percent[findings],
            new_finding[self.meeting_finding[meetings]],
            new_sight[self.meeting_sight[meetings]],
            self.is_located,
        )

    def with_findings(self, kept: Flags) -> "Procedures":
        """The same procedures with these findings alone.

        Args:
            kept: Shape (N,).
        """
        meetings = kept[self.meeting_finding]
        return replace(
            self,
            finding_frame=self.finding_frame[kept],
            finding_score=self.finding_score[kept],
            finding_percent=self.finding_percent[kept],
            meeting_finding=(np.cumsum(kept) - 1)[self.meeting_finding[meetings]],
            meeting_sight=self.meeting_sight[meetings],
        )


def _highest(places: Places, values: Numbers, length: int) -> Numbers:
    highest = np.full(length, NEVER)
    np.maximum.at(highest, places, values)
    return highest
