"""The options of `polypseg predict`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polypseg.cli.prediction_options import (
    VIDEO,
    BatchSize,
    CalibrationChoice,
    Deinterlace,
    EngineName,
    MaskMaking,
    OverTime,
    Threads,
)

if TYPE_CHECKING:
    from polypseg.predict.images.outputs import OutputOptions
    from polypseg.predict.video.options import VideoOptions

INPUT, WRITTEN = "Input", "Output"

MAX_PIXELS_LIMIT = 178_956_970
"""Pillow refuses larger images itself."""


@dataclass(frozen=True, kw_only=True)
class ExtraOutputs:
    """What is written beside the masks of images."""

    probabilities: Annotated[
        str | None,
        typer.Option(metavar="FORMAT", help="Write probability maps: png8, png16 or npz.", rich_help_panel=WRITTEN),
    ] = None
    overlays: Annotated[
        bool, typer.Option("--overlays", help="Write images with the mask in colour.", rich_help_panel=WRITTEN)
    ] = False
    contours: Annotated[
        bool, typer.Option("--contours", help="Write images with the outline of the mask.", rich_help_panel=WRITTEN)
    ] = False
    heatmaps: Annotated[
        bool, typer.Option("--heatmaps", help="Write the probability as a heat map.", rich_help_panel=WRITTEN)
    ] = False
    attention: Annotated[
        bool,
        typer.Option("--attention", help="Write the attention of each level as a heat map.", rich_help_panel=WRITTEN),
    ] = False
    coco: Annotated[
        bool,
        typer.Option("--coco", help="Write COCO JSON, as run lengths and as polygons.", rich_help_panel=WRITTEN),
    ] = False
    review: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Write this share of the frames, the most doubtful first, to review/ and mark them in the table.",
            rich_help_panel=WRITTEN,
        ),
    ] = None

    review_for: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="With --review: marks that may be no polyp (marks), polyps that may be missed or badly outlined "
            "(misses: frames without any mark first), or both in turn.",
            rich_help_panel=WRITTEN,
        ),
    ] = "both"

    def options(self) -> "OutputOptions":
        """What a folder of results holds; a calibration adds its masks later."""
        from polypseg.predict.images.outputs import OutputOptions

        return OutputOptions(**vars(self))


@dataclass(frozen=True, kw_only=True)
class FilmMaking:
    """How a video is written."""

    view: Annotated[
        str, typer.Option(metavar="NAME", help="Drawing on the video: overlay, contour or none.", rich_help_panel=VIDEO)
    ] = "overlay"
    quality: Annotated[
        int, typer.Option(min=0, max=51, help="Video quality: 0 (lossless) to 51 (worst).", rich_help_panel=VIDEO)
    ] = 20
    max_frames: Annotated[
        int | None, typer.Option(min=1, help="Stop after this many frames.", rich_help_panel=VIDEO)
    ] = None
    deinterlace: Deinterlace = False
    numbers: Annotated[
        bool,
        typer.Option(
            "--numbers", help="Draw the number of each polyp; the table always has it.", rich_help_panel=VIDEO
        ),
    ] = False

    def options(self, over_time: OverTime) -> "VideoOptions":
        """How a video is predicted and written."""
        from polypseg.predict.video.options import VideoOptions

        return VideoOptions(over_time.smooth, over_time.smooth_frames, over_time.withhold, **vars(self))


@dataclass(frozen=True, kw_only=True)
class PredictCall:
    """What the command line says."""

    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL] PATH…",
            help="An included model, .onnx file or run folder (default: polyp-lite), then images, folders, patterns, "
            "- for standard input, or one video of any format.",
        ),
    ] = None
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder for the results; for one image also a .png; for a video an .mp4 or .mkv file."
        ),
    ] = None
    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Model; use it if a PATH looks like a model.", rich_help_panel=INPUT),
    ] = None
    camera: Annotated[
        int | None,
        typer.Option(min=0, metavar="INDEX", help="Record from a camera or capture device.", rich_help_panel=INPUT),
    ] = None
    max_pixels: Annotated[
        int,
        typer.Option(
            min=1, max=MAX_PIXELS_LIMIT, help="Refuse larger images before decoding them.", rich_help_panel=INPUT
        ),
    ] = 64_000_000
    resume: Annotated[
        bool, typer.Option("--resume", help="Skip images that are already done.", rich_help_panel=INPUT)
    ] = False
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing results.", rich_help_panel=INPUT)] = (
        False
    )
    masks: MaskMaking = field(default_factory=MaskMaking)
    batch_size: BatchSize = 1
    engine: EngineName = "auto"
    threads: Threads = None
    calibration: CalibrationChoice = None
    written: ExtraOutputs = field(default_factory=ExtraOutputs)
    over_time: OverTime = field(default_factory=OverTime)
    film: FilmMaking = field(default_factory=FilmMaking)
