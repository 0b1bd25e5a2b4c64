"""The options of `polypseg evaluate`."""

from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from polypseg.cli.mask_options import MaskChannel, PolypColours, PolypLabels, PolypValues
from polypseg.cli.prediction_options import PREDICTION, BatchSize, CalibrationChoice, Field, OverTime, Tta

if TYPE_CHECKING:
    from polypseg.evaluate.score import ScoreOptions
    from polypseg.evaluate.selection import Selection
    from polypseg.evaluate.summary import SummaryOptions

WHAT, WHICH, HOW, SUMMED, PROCEDURES = "What to evaluate", "Images", "Scoring", "Summary", "Whole procedures"


NEGATIVES_SWITCH = "--without-polyps"
"""Stands for --negatives without a folder, as it was written until 0.2: it said what --data is."""


class EvaluateCommand(TyperCommand):
    """`polypseg evaluate`, which until 0.3 also takes --negatives without a folder."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The words that are left over, after the earlier switch got the name that only it has."""
        for number, (word, following) in enumerate(pairwise([*args, "-"])):
            if word == "--negatives" and following.startswith("-"):
                args = [*args[:number], NEGATIVES_SWITCH, *args[number + 1 :]]
        return super().parse_args(ctx, args)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What is evaluated, beside a model."""

    predictions: Annotated[
        Path | None,
        typer.Option(
            help="Folder of masks or probability maps of another program; for procedures a COCO results list, "
            "findings.csv, or tables of videos from polypseg predict.",
            rich_help_panel=WHAT,
        ),
    ] = None
    references: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the reference masks; for procedures also COCO boxes with lesion ids (.json) or "
            "intervals (.csv).",
            rich_help_panel=WHAT,
        ),
    ] = None
    videos: Annotated[
        Path | None,
        typer.Option(help="Folder of video files, or of folders of frames, one per procedure.", rich_help_panel=WHAT),
    ] = None
    images: Annotated[
        Path | None, typer.Option(help="Folder of the images for --predictions, for figures.", rich_help_panel=WHAT)
    ] = None


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Which images are evaluated, and what means polyp in their masks."""

    data: Annotated[
        Path | None,
        typer.Option(help="Folder of images and masks; default: the run's own data.", rich_help_panel=WHICH),
    ] = None
    split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="test, validation, train or all; default: test, or all of other data.",
            rich_help_panel=WHICH,
        ),
    ] = None
    splits: Annotated[
        Path | None, typer.Option(help="Split (splits.json) instead of the run's own.", rich_help_panel=WHICH)
    ] = None
    names: Annotated[
        Path | None,
        typer.Option(help="Evaluate only the names in this text file, one per line.", rich_help_panel=WHICH),
    ] = None
    negatives: Annotated[
        Path | None,
        typer.Option(
            help="Folder of frames without a polyp and without masks, in place of --data or --references.",
            rich_help_panel=WHICH,
        ),
    ] = None
    without_polyps: Annotated[bool, typer.Option(NEGATIVES_SWITCH, hidden=True)] = False
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Skip files that cannot be read, and list them.", rich_help_panel=WHICH)
    ] = False
    polyp_values: PolypValues = ""
    polyp_colours: PolypColours = ""
    mask_channel: MaskChannel = ""
    polyp_labels: PolypLabels = ""

    def selection(self, split: str | None) -> "Selection":
        """Which of the found images are scored; the split is the caller's."""
        from polypseg.evaluate.selection import Selection
        from polypseg.preprocess import mask_rule

        rule = mask_rule(self.polyp_values, self.polyp_colours, self.mask_channel, self.polyp_labels)
        negatives = self.negatives is not None or self.without_polyps
        return Selection(split, self.splits, self.names, negatives, self.skip_bad, rule or None)


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """The threshold, given or chosen."""

    threshold: Annotated[
        float | None,
        typer.Option(help="Threshold; default: the run's own (0.5 unless tuned).", rich_help_panel=PREDICTION),
    ] = None
    tune_threshold: Annotated[
        bool,
        typer.Option(
            "--tune-threshold",
            help="Choose the threshold on the validation split (original and perturbed images), store it, and "
            "evaluate that split.",
            rich_help_panel=PREDICTION,
        ),
    ] = False
    unperturbed: Annotated[
        bool,
        typer.Option(
            "--unperturbed",
            help="With --tune-threshold: use the original images only.",
            rich_help_panel=PREDICTION,
        ),
    ] = False


@dataclass(frozen=True, kw_only=True)
class Running:
    """How a model predicts what is scored."""

    tta: Tta = "none"
    field: Field = None
    calibration: CalibrationChoice = None
    batch_size: BatchSize = 8


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """How images are scored."""

    tolerance: Annotated[
        float, typer.Option(min=0, help="Tolerance of the surface Dice in pixels.", rich_help_panel=HOW)
    ] = 2.0
    min_lesion_area: Annotated[
        int,
        typer.Option(min=1, help="Ignore smaller components (pixels) when counting lesions.", rich_help_panel=HOW),
    ] = 10
    min_max: Annotated[
        bool,
        typer.Option("--min-max", help="Stretch each map to 0 … 1, as PraNet's protocol does.", rich_help_panel=HOW),
    ] = False
    save_maps: Annotated[
        bool, typer.Option("--save-maps", help="Write probability maps as 8-bit PNG.", rich_help_panel=HOW)
    ] = False
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing results.", rich_help_panel=HOW)] = (
        False
    )
    min_area: Annotated[int | None, typer.Option(hidden=True, min=1)] = None
    restart: Annotated[bool, typer.Option("--restart", hidden=True)] = False


@dataclass(frozen=True, kw_only=True)
class Summing:
    """How the scores are summed up."""

    protocol: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Print figures as papers report them: pranet (stretches maps), kvasir, duck; for procedures "
            "true-colon or true-colon-realcolon.",
            rich_help_panel=SUMMED,
        ),
    ] = None
    area_limits: Annotated[
        str,
        typer.Option(
            metavar="LOW,HIGH",
            help="Limits of small, medium and large polyps in % of the image.",
            rich_help_panel=SUMMED,
        ),
    ] = "5,20"
    strata_csv: Annotated[
        Path | None, typer.Option(help="CSV with one row per image and the columns for --by.", rich_help_panel=SUMMED)
    ] = None
    by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN", help="Group by this column of --strata-csv; can be repeated.", rich_help_panel=SUMMED
        ),
    ] = None
    alarm_area: Annotated[
        int,
        typer.Option(min=1, help="Smallest false finding (pixels) that counts as an alarm.", rich_help_panel=SUMMED),
    ] = 100
    frame_rate: Annotated[
        float | None,
        typer.Option(
            min=0, help="Frames per second: for alarms per minute, and for folders of frames.", rich_help_panel=SUMMED
        ),
    ] = None
    leaks: Annotated[
        bool,
        typer.Option(
            "--leaks/--no-leaks", help="Search for near-duplicates of training images.", rich_help_panel=SUMMED
        ),
    ] = True
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the bootstrap.", rich_help_panel=SUMMED)] = 0

    def limits(self) -> tuple[float, float]:
        """The areas that part small from medium, and medium from large polyps, in % of the image."""
        from polypseg.errors import UsageError

        try:
            low, high = (float(part) for part in self.area_limits.split(","))
        except ValueError as error:
            raise UsageError(
                f"--area-limits {self.area_limits!r}: expected two numbers with a comma, as 5,20"
            ) from error
        if not 0 <= low <= high <= 100:
            raise UsageError(f"--area-limits {self.area_limits}: expected two rising numbers from 0 to 100, as 5,20")
        return low, high

    def options(self) -> "SummaryOptions":
        """How a summary is made."""
        from polypseg.evaluate.summary import SummaryOptions

        return SummaryOptions(
            seed=self.seed,
            area_limits=self.limits(),
            strata_table=self.strata_csv,
            strata_columns=tuple(self.by or ()),
            alarm_area_px=self.alarm_area,
            frame_rate=self.frame_rate,
        )


@dataclass(frozen=True, kw_only=True)
class ProcedureOptions:
    """How whole procedures are evaluated."""

    validation: Annotated[
        str,
        typer.Option(
            metavar="NAME,…",
            help="Procedures on which the matched threshold is chosen; the others are evaluated.",
            rich_help_panel=PROCEDURES,
        ),
    ] = ""
    budget: Annotated[
        float, typer.Option(min=0, help="False alerts allowed at the matched threshold.", rich_help_panel=PROCEDURES)
    ] = 0.045
    burden: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="What --budget counts: false-positive-rate, or per minute clean-frames, false-frames, runs, "
            "alerts-0.5s, alerts-15frames, …",
            rich_help_panel=PROCEDURES,
        ),
    ] = "false-positive-rate"
    coco_results: Annotated[
        bool,
        typer.Option(
            "--coco-results",
            help="Write findings as a COCO results list, and the references with their lesion ids.",
            rich_help_panel=PROCEDURES,
        ),
    ] = False

    case_pictures: Annotated[
        bool,
        typer.Option(
            "--case-pictures",
            help="Put pictures of missed, found and false cases into the page; with --predictions also name --videos.",
            rich_help_panel=PROCEDURES,
        ),
    ] = False

    def names(self) -> tuple[str, ...]:
        """The procedures on which the matched threshold is chosen."""
        return tuple(name.strip() for name in self.validation.split(",") if name.strip())


@dataclass(frozen=True, kw_only=True)
class EvaluateCall:
    """What the command line says."""

    model: Annotated[
        str | None,
        typer.Argument(metavar="RUN|MODEL", help="A run folder; with --data also a model file or an included model."),
    ] = None
    judged: Judged = field(default_factory=Judged)
    chosen: Chosen = field(default_factory=Chosen)
    tuned: Tuned = field(default_factory=Tuned)
    running: Running = field(default_factory=Running)
    scoring: Scoring = field(default_factory=Scoring)
    summing: Summing = field(default_factory=Summing)
    procedures: ProcedureOptions = field(default_factory=ProcedureOptions)
    over_time: OverTime = field(default_factory=OverTime)
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for the results.", show_default="RUN/evaluation/SPLIT"),
    ] = None

    def score_options(self) -> "ScoreOptions":
        """How images are scored."""
        from polypseg.evaluate.score import ScoreOptions
        from polypseg.metrics.table import ScoreSettings

        scoring = self.scoring
        settings = ScoreSettings(
            tolerance_px=scoring.tolerance,
            min_area_px=scoring.min_lesion_area if scoring.min_area is None else scoring.min_area,
            min_max=scoring.min_max or self.summing.protocol == "pranet",
        )
        overwrite = scoring.overwrite or scoring.restart
        return ScoreOptions(
            settings, self.running.batch_size, scoring.save_maps, self.chosen.skip_bad, overwrite, processes=True
        )
