"""One image, every metric: the row of scores.csv, and what else an image leaves to be summed up.

Decisions:
- The columns, their names, units and order are fixed here (`COLUMNS`); evaluate writes them, compare and report
  read them. Counts of pixels and lesions are columns too, so that pooled figures can be worked out from the file.
- The mask is cut from the map as it is given (probability >= threshold); what looks at many thresholds or at the
  probabilities themselves reads the map at 8 bits (`thresholds`).
- An undefined value is NaN and stands for "no such thing in this image" (a distance to an outline that does not
  exist, the sensitivity of no lesions). What an empty mask gives otherwise is in each metric's module.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from polypseg.arrays import Mask, Probability, check_mask, check_probability, check_same_shape
from polypseg.errors import UsageError, unknown_name
from polypseg.metrics.boundary import boundary_distances
from polypseg.metrics.calibration import brier_score, expected_calibration_error
from polypseg.metrics.lesions import count_lesions
from polypseg.metrics.overlap import Counts, count, mean_absolute_error, soft_dice
from polypseg.metrics.saliency import SaliencyScores, saliency_scores
from polypseg.metrics.thresholds import Histogram, level_histogram, to_levels
from polypseg.preprocess import to_mask

Group = Literal["overlap", "lesions", "boundary", "saliency", "calibration"]
GROUPS: tuple[Group, ...] = get_args(Group)


class Column(NamedTuple):
    """A column of scores.csv; `label` is its name in the terminal and in reports, empty if it is not shown."""

    name: str
    group: Group
    unit: str
    better: Literal["higher", "lower", ""]
    meaning: str
    label: str = ""


COLUMNS: tuple[Column, ...] = (
    Column("height_px", "overlap", "px", "", "height of the image"),
    Column("width_px", "overlap", "px", "", "width of the image"),
    Column("true_positive", "overlap", "px", "", "polyp pixels that were predicted"),
    Column("false_positive", "overlap", "px", "", "background pixels that were predicted"),
    Column("false_negative", "overlap", "px", "", "polyp pixels that were not predicted"),
    Column("true_negative", "overlap", "px", "", "background pixels that were not predicted"),
    Column("polyp_share", "overlap", "1", "", "share of the image that is polyp in the reference"),
    Column("dice", "overlap", "1", "higher", "Dice at the threshold", "Dice"),
    Column("iou", "overlap", "1", "higher", "intersection over union at the threshold", "IoU"),
    Column("precision", "overlap", "1", "higher", "share of the predicted pixels that are polyp", "Precision"),
    Column(
        "recall",
        "overlap",
        "1",
        "higher",
        "share of the polyp pixels that were predicted (sensitivity)",
        "Recall (sensitivity)",
    ),
    Column("specificity", "overlap", "1", "higher", "share of the background that was left alone", "Specificity"),
    Column("accuracy", "overlap", "1", "higher", "share of all pixels that are right", "Accuracy"),
    Column("f2", "overlap", "1", "higher", "F-measure that counts recall twice as important as precision", "F2"),
    Column("background_dice", "overlap", "1", "higher", "Dice of the background"),
    Column("background_iou", "overlap", "1", "higher", "intersection over union of the background"),
    Column("two_class_dice", "overlap", "1", "higher", "mean of dice and background_dice"),
    Column("two_class_iou", "overlap", "1", "higher", "mean of iou and background_iou"),
    Column("soft_dice", "overlap", "1", "higher", "Dice of the probabilities themselves, no threshold", "Soft Dice"),
    Column("mae", "overlap", "1", "lower", "mean |probability - reference|, no threshold", "Absolute error"),
    Column("num_lesions", "lesions", "", "", "connected polyps in the reference"),
    Column("num_found", "lesions", "", "", "of them, those that a finding meets"),
    Column("num_findings", "lesions", "", "", "connected components of the prediction"),
    Column("num_false", "lesions", "", "lower", "of them, those that meet no lesion", "False findings per image"),
    Column("largest_false_px", "lesions", "px", "lower", "area of the largest false finding"),
    Column(
        "lesion_sensitivity", "lesions", "1", "higher", "num_found / num_lesions; NaN without a lesion", "Lesions found"
    ),
    Column(
        "hd95_px", "boundary", "px", "lower", "Hausdorff distance 95 %; NaN if one mask is empty", "Hausdorff 95 %, px"
    ),
    Column(
        "asd_px",
        "boundary",
        "px",
        "lower",
        "average surface distance; NaN if one mask is empty",
        "Surface distance, px",
    ),
    Column(
        "nsd_px",
        "boundary",
        "1",
        "higher",
        "normalised surface Dice at the tolerance in pixels",
        "Surface Dice, {tolerance_px:g} px",
    ),
    Column(
        "hd95_percent",
        "boundary",
        "% of diagonal",
        "lower",
        "hd95_px over the image diagonal",
        "Hausdorff 95 %, % diagonal",
    ),
    Column(
        "asd_percent",
        "boundary",
        "% of diagonal",
        "lower",
        "asd_px over the image diagonal",
        "Surface distance, % diagonal",
    ),
    Column(
        "nsd_percent",
        "boundary",
        "1",
        "higher",
        "normalised surface Dice at the tolerance in % of the diagonal",
        "Surface Dice, {tolerance_percent:g} % diagonal",
    ),
    Column("pranet_mean_dice", "saliency", "1", "higher", "mean Dice over 256 thresholds", "Dice, 256 thresholds"),
    Column("pranet_mean_iou", "saliency", "1", "higher", "mean IoU over 256 thresholds", "IoU, 256 thresholds"),
    Column("pranet_max_dice", "saliency", "1", "higher", "largest Dice of this image over 256 thresholds"),
    Column("pranet_max_iou", "saliency", "1", "higher", "largest IoU of this image over 256 thresholds"),
    Column("weighted_f", "saliency", "1", "higher", "weighted F-measure", "Weighted F-measure"),
    Column("s_measure", "saliency", "1", "higher", "structure measure", "S-measure"),
    Column(
        "mean_e_measure",
        "saliency",
        "1",
        "higher",
        "mean enhanced-alignment measure over 256 thresholds",
        "E-measure, 256 thresholds",
    ),
    Column("max_e_measure", "saliency", "1", "higher", "largest enhanced-alignment measure of this image"),
    Column("adaptive_e_measure", "saliency", "1", "higher", "enhanced-alignment measure at twice the map's mean"),
    Column("pranet_mae", "saliency", "1", "lower", "mean absolute error of the 8-bit map as the protocol reads it"),
    Column("ece", "calibration", "1", "lower", "expected calibration error of the polyp class", "Calibration error"),
    Column("brier", "calibration", "1", "lower", "Brier score", "Brier score"),
)

SHOWN = (
    *("dice", "iou", "precision", "recall", "specificity", "accuracy", "f2", "soft_dice", "mae"),
    *("nsd_percent", "nsd_px", "hd95_percent", "hd95_px", "asd_percent", "asd_px", "lesion_sensitivity", "num_false"),
    *("pranet_mean_dice", "pranet_mean_iou", "weighted_f", "s_measure", "mean_e_measure", "ece", "brier"),
)
"""The columns with a label, in the order in which tables show them."""

LABELS = {name: next(column.label for column in COLUMNS if column.name == name) for name in SHOWN}
"""The label of each shown column; the tolerances are filled in from `ScoreSettings`."""


class NegativeFigure(NamedTuple):
    """A figure over the images without a polyp: its name in summary.json, its label, its factor and its unit."""

    name: str
    label: str
    factor: int = 1
    unit: str = ""


NEGATIVE_FIGURES = (
    NegativeFigure("any_false_positive", "Frames with any false-positive pixel", 100, " %"),
    NegativeFigure("large_false_positive", "Frames with a false-positive area over 0.1 %", 100, " %"),
    NegativeFigure("alarm", "Frames with a false finding of {alarm_area_px} px or more", 100, " %"),
    NegativeFigure("false_positive_percent", "False-positive area, mean", 1, " % of the image"),
    NegativeFigure("specificity", "Specificity, mean"),
    NegativeFigure("false_findings", "False findings per frame"),
    NegativeFigure("alarms_a_minute", "Frames with an alarm per minute ({frame_rate:g} per second)"),
    NegativeFigure("false_findings_a_minute", "False findings per minute ({frame_rate:g} per second)"),
)


@dataclass(frozen=True)
class ScoreSettings:
    """What decides a row besides the two arrays.

    Attributes:
        threshold: A pixel is polyp from this probability on, in (0, 1].
        peak_threshold: A component counts only where one of its pixels reaches this; 0 counts all.
        groups: Which groups of columns are worked out; boundary and saliency take most of the time.
        tolerance_px: Of nsd_px.
        tolerance_percent: Of nsd_percent, in % of the image diagonal (1 % of a 622x529 image is 8 px).
        min_iou: From which a finding meets a lesion; 0 means any shared pixel.
        min_area_px: Components of fewer pixels are neither lesion nor finding.
        min_max: Stretch each map to 0 … 1 for the saliency group, as PraNet's evaluation does.
    """

    threshold: float = 0.5
    peak_threshold: float = 0.0
    groups: tuple[Group, ...] = GROUPS
    tolerance_px: float = 2.0
    tolerance_percent: float = 1.0
    min_iou: float = 0.0
    min_area_px: int = 10
    min_max: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise UsageError(f"threshold is {self.threshold}; expected more than 0 and at most 1")
        if not 0 <= self.peak_threshold <= 1:
            raise UsageError(f"peak_threshold is {self.peak_threshold}; expected 0 to 1")
        for group in self.groups:
            if group not in GROUPS:
                raise UsageError(unknown_name("group of metrics", group, GROUPS))


class ImageScores(NamedTuple):
    """Everything that one image gives."""

    row: dict[str, float]
    """A value a column, in the order of COLUMNS, for the groups that were asked for."""

    histogram: Histogram
    """Shape (2, 256): sums to pooled calibration, precision-recall and threshold curves."""

    saliency: SaliencyScores | None
    """The curves over 256 thresholds, if the group was asked for."""


def columns_of(groups: Iterable[Group] = GROUPS) -> tuple[str, ...]:
    """The names of the columns of these groups, in their fixed order.

    >>> columns_of(["calibration"])
    ('ece', 'brier')
    """
    wanted = set(groups)
    return tuple(column.name for column in COLUMNS if column.group in wanted)


def score_image(probability: Probability, reference: Mask, settings: ScoreSettings | None = None) -> ImageScores:
    """All metrics of one image.

    Args:
        probability: Shape (H, W), float in [0, 1], at the reference's size; of an 8-bit map, level / 255.
        reference: Shape (H, W), bool.
        settings: None for the defaults.

    Raises:
        DataError: Not a map in [0, 1] (NaN included), not a mask, or of different shape: such an image has no
            score, and the caller decides whether to stop or to list it.

    >>> import numpy as np
    >>> half = np.array([[0.9, 0.2]], np.float32)
    >>> score_image(half, np.array([[True, True]])).row["recall"]
    0.5
    """
    settings = settings or ScoreSettings()
    probability, reference = check_probability(probability), check_mask(reference, "reference")
    check_same_shape(probability, reference)
    predicted = to_mask(probability, settings.threshold, settings.peak_threshold)
    levels = to_levels(probability)
    histogram = level_histogram(levels, reference)
    wanted = set(settings.groups)
    saliency = saliency_scores(levels, reference, settings.min_max) if "saliency" in wanted else None
    row: dict[str, float] = {}
    parts: dict[Group, Callable[[], dict[str, float]]] = {
        "overlap": lambda: _overlap(count(predicted, reference), probability, reference),
        "lesions": lambda: _lesions(predicted, reference, settings),
        "boundary": lambda: _boundary(predicted, reference, settings),
        "saliency": lambda: _saliency(saliency) if saliency else {},
        "calibration": lambda: {"ece": expected_calibration_error(histogram), "brier": brier_score(histogram)},
    }
    for group in GROUPS:
        if group in wanted:
            row.update(parts[group]())
    return ImageScores(row, histogram, saliency)


def _overlap(counts: Counts, probability: Probability, reference: Mask) -> dict[str, float]:
    return {
        "height_px": reference.shape[0],
        "width_px": reference.shape[1],
        **counts._asdict(),
        "polyp_share": counts.num_reference / counts.num_pixels,
        "dice": counts.dice,
        "iou": counts.iou,
        "precision": counts.precision,
        "recall": counts.recall,
        "specificity": counts.specificity,
        "accuracy": counts.accuracy,
        "f2": counts.f_beta(2),
        "background_dice": counts.background.dice,
        "background_iou": counts.background.iou,
        "two_class_dice": (counts.dice + counts.background.dice) / 2,
        "two_class_iou": (counts.iou + counts.background.iou) / 2,
        "soft_dice": soft_dice(probability, reference),
        "mae": mean_absolute_error(probability, reference),
    }


def _lesions(predicted: Mask, reference: Mask, settings: ScoreSettings) -> dict[str, float]:
    counts = count_lesions(predicted, reference, settings.min_iou, settings.min_area_px)
    return {**counts._asdict(), "lesion_sensitivity": counts.sensitivity}


def _boundary(predicted: Mask, reference: Mask, settings: ScoreSettings) -> dict[str, float]:
    distances = boundary_distances(predicted, reference)
    hausdorff, average = distances.hausdorff_95_px, distances.average_px
    return {
        "hd95_px": hausdorff,
        "asd_px": average,
        "nsd_px": distances.within(settings.tolerance_px),
        "hd95_percent": distances.percent_of_diagonal(hausdorff),
        "asd_percent": distances.percent_of_diagonal(average),
        "nsd_percent": distances.within(settings.tolerance_percent / 100 * distances.diagonal_px),
    }


def _saliency(scores: SaliencyScores) -> dict[str, float]:
    return {
        "pranet_mean_dice": float(scores.dice.mean()),
        "pranet_mean_iou": float(scores.iou.mean()),
        "pranet_max_dice": float(scores.dice.max()),
        "pranet_max_iou": float(scores.iou.max()),
        "weighted_f": scores.weighted_f,
        "s_measure": scores.s_measure,
        "mean_e_measure": float(scores.e_measure.mean()),
        "max_e_measure": float(scores.e_measure.max()),
        "adaptive_e_measure": scores.adaptive_e_measure,
        "pranet_mae": scores.mean_absolute_error,
    }
