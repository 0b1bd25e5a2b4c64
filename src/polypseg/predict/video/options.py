"""How a video is predicted, and what is told at its end: plain records, without PyAV."""

from dataclasses import dataclass
from pathlib import Path

from polypseg.errors import UsageError, unknown_name

SMOOTHINGS = ("none", "exponential", "window")
"""Ways to smooth probabilities over time; all look back only, so that nothing is delayed."""

VIEWS = ("overlay", "contour", "none")
"""What is drawn: the tinted and outlined mask, its outline alone, or nothing (the video as it was)."""

LARGEST_WITHHOLD = 100
"""More frames of look-ahead would hold much memory: a frame of 1280x720 takes 3.7 MB while it waits."""


@dataclass(frozen=True)
class VideoOptions:
    """How a video is predicted.

    Attributes:
        smoothing: A name of `SMOOTHINGS`: `none` gives each frame its own, exact result; `exponential` weighs the frame
            by 2 / (smoothing_frames + 1) and what was before by the rest; `window` averages the last
            `smoothing_frames` frames.
        smoothing_frames: How far it reaches back, 2 to 100 frames; without effect for `none`.
        withhold_frames: Detections that are seen in at most so many frames in a row are withheld, 0 to
            `LARGEST_WITHHOLD`; 0 withholds none. The video comes out so many frames later while it is made.
        view: A name of `VIEWS`.
        opacity: Of the tint, 0 to 1.
        quality: Of the written video, 0 (lossless, large) to 51 (worst); x264's constant rate factor.
        max_frames: Stop after so many frames, at least 1; None takes all (or records until Ctrl-C).
        deinterlace: Whether the lines of interlaced frames are taken apart (FFmpeg's bwdif) before they are predicted.
        numbers: Whether the number of each track is drawn at its region; the table has it anyway.
    """

    smoothing: str = "none"
    smoothing_frames: int = 5
    withhold_frames: int = 0
    view: str = "overlay"
    opacity: float = 0.4
    quality: int = 20
    max_frames: int | None = None
    deinterlace: bool = False
    numbers: bool = False

    def __post_init__(self) -> None:
        """Refuse what does not fit.

        Raises:
            UsageError: A value out of range, or an unknown name.
        """
        if self.smoothing not in SMOOTHINGS:
            raise UsageError(unknown_name("smoothing", self.smoothing, SMOOTHINGS))
        if self.view not in VIEWS:
            raise UsageError(unknown_name("view", self.view, VIEWS))
        for name, low, high in (
            ("smoothing_frames", 2, 100),
            ("withhold_frames", 0, LARGEST_WITHHOLD),
            ("opacity", 0, 1),
            ("quality", 0, 51),
        ):
            if not low <= getattr(self, name) <= high:
                raise UsageError(f"{name} {getattr(self, name):g}: expected {low} to {high}")
        if self.max_frames is not None and self.max_frames < 1:
            raise UsageError(f"max_frames {self.max_frames}: expected at least 1")


DEFAULTS = VideoOptions()
"""Each frame's own result, nothing withheld."""


@dataclass(frozen=True)
class VideoSummary:
    """What came of a video.

    Attributes:
        video: The written video; `NAME.part.mp4` where a file was interrupted before its end, and playable.
        table: The CSV beside it, one row per frame.
        size: Height and width in pixels of the upright frames; the video has one row or column more where one is odd.
        codec: That the video is written with: `libx264` or `mpeg4`.
        num_frames: Frames with a picture, each predicted and written.
        num_with_polyp: Of them, frames in which a polyp is shown.
        num_with_withheld: Of them, frames in which a detection is withheld.
        num_withheld: Detections that were withheld.
        num_damaged: Of the frames, those that the decoder could restore only in part.
        num_dropped: Frames that gave no picture; they are in the table, not in the video.
        num_mistimed: Frames whose time stamp did not rise and was set to just after the one before.
        num_resized: Frames of another size than the first; they are shown at the first one's.
        fault: What is wrong with the file as a whole, as that it is cut short; "" where nothing is.
        has_sound: Whether the source has sound; it is not copied.
        interrupted: Whether Ctrl-C ended the work; video and table of a file then keep the names of their parts.
        video_seconds: From the first to the end of the last frame.
        seconds: That the work took.
        num_rejoined: Times that the clock of the source jumped; time goes on one frame later each time.
        remarks: What else a user should know of the pictures: interlaced, HDR, several streams.
        num_tracks: Different numbers that are shown (tracks.py): polyps, where each keeps its number.
    """

    video: Path
    table: Path
    size: tuple[int, int]
    codec: str
    num_frames: int
    num_with_polyp: int
    num_with_withheld: int
    num_withheld: int
    num_damaged: int
    num_dropped: int
    num_mistimed: int
    num_resized: int
    fault: str
    has_sound: bool
    interrupted: bool
    video_seconds: float
    seconds: float
    num_rejoined: int = 0
    remarks: tuple[str, ...] = ()
    num_tracks: int = 0

    @property
    def frames_per_second(self) -> float:
        """Frames that were predicted and written in a second of work."""
        return self.num_frames / self.seconds if self.seconds > 0 else 0.0

    @property
    def is_whole(self) -> bool:
        """Whether every frame of the source was there, undamaged, in order and of one size, to the end."""
        faults = (self.num_damaged, self.num_dropped, self.num_mistimed, self.num_resized)
        return not (any(faults) or self.fault)

    def notes(self) -> list[str]:
        """What a user must know, a line each; empty where all went well."""
        counted = (
            (self.num_damaged, "damaged ", ", predicted as far as restored"),
            (self.num_dropped, "", " that could not be decoded, in the table only"),
            (self.num_mistimed, "", " out of order in time, set to just after the one before"),
            (self.num_resized, "", " of another size than the first, shown at its size"),
        )
        found = [f"{n:,} {which}frame{'s' if n > 1 else ''}{what}" for n, which, what in counted if n]
        if self.num_rejoined:
            times = "once" if self.num_rejoined == 1 else f"{self.num_rejoined:,} times"
            found.append(
                f"the clock of the file starts again or leaps {times} (joined recordings?); time goes on one frame "
                "later, where the table says rejoined"
            )
        if self.fault:
            found.append(self.fault)
        found += self.remarks
        if self.has_sound:
            found.append("sound is not copied")
        if self.video.name.endswith(f".part{self.video.suffix}"):
            found.append(f"stopped before the end; what was done can be played: {self.video}")
        return found
