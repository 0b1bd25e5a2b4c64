"""summary.json: every aggregate of an evaluation, each by its name, and where it all comes from."""

from typing import Literal

from pydantic import Field

from polypseg.errors import ScoreError
from polypseg.metrics.statistics import Draws, Interval
from polypseg.records.evaluation_record import EvaluationSource, LeftOutImage, SavedSettings
from polypseg.records.reading import Number, Saved


class MeanFigures(Saved):
    """A mean over images and its interval; None where it is unknown.

    Attributes:
        mean: Over the images that have a value.
        low: Lower end of its interval.
        high: Upper end.
        num_images: That have a value.
        num_missing: That have none.
    """

    mean: Number
    low: Number
    high: Number
    num_images: int
    num_missing: int

    @classmethod
    def of(cls, interval: Interval) -> "MeanFigures":
        """The figures of a bootstrap."""
        value, low, high, _, num_images, num_missing = interval
        return cls(mean=value, low=low, high=high, num_images=num_images, num_missing=num_missing)

    def times(self, factor: float) -> "MeanFigures":
        """The same, as per cents or the like."""
        ends = {"mean": self.mean, "low": self.low, "high": self.high}
        return self.model_copy(update={end: None if value is None else factor * value for end, value in ends.items()})


class MetricFigures(MeanFigures):
    """A metric over the images with a polyp.

    Attributes:
        median: Over the images.
        pooled: Of all their pixels (or lesions) together; None where that does not exist, as all that follow.
        pooled_low: Lower end of its interval.
        pooled_high: Upper end.
        two_class_mean: Mean over images of the mean of polyp and background.
        two_class_pooled: The same of the pooled pixels.
    """

    median: Number = None
    pooled: Number = None
    pooled_low: Number = None
    pooled_high: Number = None
    two_class_mean: Number = None
    two_class_pooled: Number = None

    @classmethod
    def with_median(cls, interval: Interval, median: float, more: dict[str, float]) -> "MetricFigures":
        """The figures of a bootstrap, a median, and what else there is, by name."""
        value, low, high, _, num_images, num_missing = interval
        return cls(
            mean=value, low=low, high=high, num_images=num_images, num_missing=num_missing, median=median, **more
        )


class StratumFigures(Saved):
    """The images with a polyp of one stratum: how many, and the metrics that are worked out for it."""

    num_images: int
    dice: MetricFigures
    iou: MetricFigures
    precision: MetricFigures
    recall: MetricFigures
    f2: MetricFigures
    nsd_percent: MetricFigures
    hd95_percent: MetricFigures
    lesion_sensitivity: MetricFigures


class NegativeStratum(Saved):
    """The images without a polyp of one stratum; figures as in `NegativeFigures`."""

    num_images: int
    large_false_positive: MeanFigures
    any_false_positive: MeanFigures
    alarm: MeanFigures
    false_positive_percent: MeanFigures


class NegativeFigures(Saved):
    """The images without a polyp.

    Attributes:
        num_images: How many.
        alarm_area_px: From which on a false finding is an alarm.
        frame_rate: Frames a second; None leaves out the figures a minute.
        any_false_positive: Share with any predicted pixel.
        large_false_positive: Share with more than 0.1 % of the pixels predicted; None in files of before.
        alarm: Share with a false finding of `alarm_area_px` or more.
        false_positive_px: Mean area.
        false_positive_percent: Mean area in % of the image.
        specificity: Mean.
        false_findings: Mean number.
        alarms_a_minute: At the frame rate.
        false_findings_a_minute: At the frame rate.
        strata: By way of dividing the images, and by stratum.
    """

    num_images: int
    alarm_area_px: int
    frame_rate: float | None = None
    any_false_positive: MeanFigures
    large_false_positive: MeanFigures | None = None
    alarm: MeanFigures
    false_positive_px: MeanFigures
    false_positive_percent: MeanFigures
    specificity: MeanFigures
    false_findings: MeanFigures
    alarms_a_minute: MeanFigures | None = None
    false_findings_a_minute: MeanFigures | None = None
    strata: dict[str, dict[str, NegativeStratum]] = Field(default_factory=dict)

    def figure(self, name: str) -> MeanFigures | None:
        """One of the figures by its name; None where it was not worked out."""
        found = getattr(self, name)
        return found if isinstance(found, MeanFigures) else None


class ModelSizeFigures(Saved):
    """Loss, Dice and IoU as Keras' evaluate gives them: at the model's size, over all images."""

    size: int | None = None
    num_images: int
    loss: Number
    dice: Number
    iou: Number


class Intervals(Saved):
    """How intervals were drawn.

    Attributes:
        confidence: In (0, 1).
        num_resamples: Of each bootstrap.
        seed: Of each bootstrap.
        over: Whether images are drawn, or whole groups.
    """

    confidence: float
    num_resamples: int
    seed: int
    over: Literal["images", "groups"] = "images"

    @property
    def draws(self) -> Draws:
        """As the bootstrap takes them."""
        return Draws(self.confidence, self.num_resamples, self.seed)


class LeakRecord(Saved):
    """A scored image that shows what a training image shows.

    Attributes:
        scored: Name of the scored image.
        training: Name of the training image.
        split: Of the training image: train or validation.
        similarity: Correlation after alignment; 1 for identical files.
        is_identical: Whether the two have the same bytes or pixels.
    """

    scored: str
    training: str
    split: str
    similarity: float
    is_identical: bool


class LeakReport(Saved):
    """What of the training was found among the scored images, and what was not looked for.

    Attributes:
        unchecked: Why near-duplicates were not looked for; empty where they were.
        pairs: The most alike first.
    """

    unchecked: str
    pairs: tuple[LeakRecord, ...] = ()


class HeldSide(Saved):
    """What one of a calibration's two masks does on the scored images.

    Attributes:
        risk: Mean share of wrong pixels, over groups.
        num_groups: How many.
        num_images: How many.
        stretch: Its area over that of the mask, mean; None where no mask was predicted.
    """

    risk: float
    num_groups: int
    num_images: int
    stretch: float | None = None


class HeldPromise(Saved):
    """What was found of a calibration's promise.

    Attributes:
        promise: In words.
        level: The share of wrong pixels that it allows.
        confidence: How sure it is; None: on average.
        num_calibration_images: Of the scored images, those that made the calibration.
        sides: By outer and inner.
    """

    promise: str
    level: float
    confidence: float | None = None
    num_calibration_images: int
    sides: dict[str, HeldSide]


class Circumstances(Saved):
    """What the caller of an evaluation knows besides its scores.

    Attributes:
        command: What the user typed.
        times_test_was_scored: By the run so far; None where there is no run.
        num_scored_now: Images; the others were there already.
        leaks: Whether scored images were seen in training.
        notes: What a reader of the figures must know, a sentence each.
        held: What was found of a calibration's promise; None where none was scored.
    """

    command: str = ""
    times_test_was_scored: int | None = None
    num_scored_now: int | None = None
    leaks: LeakReport = LeakReport(unchecked="not looked for")
    notes: tuple[str, ...] = ()
    held: HeldPromise | None = None


class Provenance(EvaluationSource, Circumstances):
    """Where the figures come from.

    Attributes:
        data_digest: Of the names and files of all images.
        threshold: A pixel is polyp from this probability on.
        peak_threshold: A component counts only where one of its pixels reaches this.
        threshold_source: Where they come from, in words.
        polypseg: Version.
        started: When.
        num_resized: Predictions that had another size than their references.
    """

    data_digest: str = ""
    threshold: float
    peak_threshold: float = Field(0.0, alias="seed_threshold")
    threshold_source: str = ""
    polypseg: str = ""
    started: str = ""
    num_resized: int = 0


class Summary(Saved):
    """What summary.json holds.

    Attributes:
        num_images: That were scored.
        num_polyp_images: With a polyp; all means are over these.
        num_polyp_free_images: Without one.
        left_out: Files and images that were not scored.
        metrics: By column of scores.csv.
        strata: By way of dividing the images with a polyp, and by stratum.
        negatives: The images without a polyp; None where there is none.
        model_size: None where no model predicted.
        protocols: By line of papers, its figures by the names that it uses.
        average_precision: Of all pixels of the images with a polyp.
        intervals: How they were drawn.
        settings: How images were scored.
        provenance: Where it all comes from.
    """

    num_images: int
    num_polyp_images: int
    num_polyp_free_images: int
    left_out: tuple[LeftOutImage, ...] = ()
    metrics: dict[str, MetricFigures]
    strata: dict[str, dict[str, StratumFigures]]
    negatives: NegativeFigures | None
    model_size: ModelSizeFigures | None
    protocols: dict[str, dict[str, Number]]
    average_precision: Number
    intervals: Intervals
    settings: SavedSettings
    provenance: Provenance

    def of(self, metric: str) -> MetricFigures:
        """The figures of a metric.

        Raises:
            ScoreError: The summary lacks it.
        """
        if metric not in self.metrics:
            raise ScoreError(f"summary.json lacks the figures of {metric}; score again with: polypseg evaluate")
        return self.metrics[metric]
