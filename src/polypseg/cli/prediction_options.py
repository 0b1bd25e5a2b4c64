"""The options that say how a model predicts: the same in every command that runs one."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from polypseg.predict.predictor import PredictOptions
    from polypseg.records.calibration import Calibration

PREDICTION, VIDEO = "Prediction", "Video"

Model = Annotated[
    str | None, typer.Argument(help="An included model, an .onnx or .keras file or a run folder; default: polyp-lite.")
]
Threshold = Annotated[
    float | None,
    typer.Option(help="Threshold of the probability; default: the model's own.", rich_help_panel=PREDICTION),
]
Tta = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Test-time augmentation: none; flips (mean of four mirror images, four times the work); or doubt "
        "(only a frame in doubt is compared with its mirror images: fewer false alarms).",
        rich_help_panel=PREDICTION,
    ),
]
Field = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Part of the frame that the model sees: auto (the lit picture, without black surround and panels) "
        "or whole; default: as in its training.",
        rich_help_panel=PREDICTION,
    ),
]
MinArea = Annotated[
    int, typer.Option(min=0, help="Remove smaller components (pixels) from the mask.", rich_help_panel=PREDICTION)
]
CalibrationChoice = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|none",
        help="File of polypseg calibrate, for an outer and an inner mask; none: also ignore a stored calibration.",
        show_default="the one stored with the model",
        rich_help_panel=PREDICTION,
    ),
]
BatchSize = Annotated[int, typer.Option(min=1, help="Images per batch.", rich_help_panel=PREDICTION)]
EngineName = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="NAME",
        help="Engine: auto, onnxruntime, openvino, keras or litert.",
        rich_help_panel=PREDICTION,
    ),
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Maximum number of processor cores.", rich_help_panel=PREDICTION)
]
Smooth = Annotated[
    str, typer.Option(metavar="NAME", help="Smooth over time: none, exponential or window.", rich_help_panel=VIDEO)
]
SmoothFrames = Annotated[
    int, typer.Option(min=2, max=100, help="Number of frames to smooth over.", rich_help_panel=VIDEO)
]
Withhold = Annotated[
    int,
    typer.Option(min=0, metavar="FRAMES", help="Hide detections of at most this many frames.", rich_help_panel=VIDEO),
]
Deinterlace = Annotated[
    bool, typer.Option("--deinterlace", help="Deinterlace interlaced video.", rich_help_panel=VIDEO)
]


@dataclass(frozen=True, kw_only=True)
class MaskMaking:
    """How a model makes masks."""

    threshold: Threshold = None
    tta: Tta = "none"
    field: Field = None
    min_area: MinArea = 0

    def options(
        self, attention: bool = False, calibration: "Calibration | None" = None, stored: bool = True
    ) -> "PredictOptions":
        """The options of a predictor; `stored`: whether a calibration that is kept with the model is used.

        Raises:
            UsageError: A value out of range, or an unknown name.
        """
        from polypseg.predict.predictor import PredictOptions
        from polypseg.preprocess import field_rule

        return PredictOptions(
            self.threshold, self.tta, self.min_area, attention, field_rule(self.field), calibration, stored
        )


@dataclass(frozen=True, kw_only=True)
class OverTime:
    """How findings of a video are joined over time."""

    smooth: Smooth = "none"
    smooth_frames: SmoothFrames = 5
    withhold: Withhold = 0
