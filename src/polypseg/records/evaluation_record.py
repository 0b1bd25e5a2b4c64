"""evaluation.json: what is scored, on which images and how; written before the first image."""

from pydantic import Field

from polypseg.metrics.table import GROUPS, Group, ScoreSettings
from polypseg.records.calibration import Bound
from polypseg.records.model_facts import ModelFacts
from polypseg.records.reading import Saved


class LeftOutImage(Saved):
    """A file or an image that was not scored.

    Attributes:
        name: Of it.
        reason: In words.
    """

    name: str
    reason: str


class RecordedFile(Saved):
    """A file that was read.

    Attributes:
        path: Where it was.
        sha256: Of its bytes, in hex.
    """

    path: str
    sha256: str


class ScoredImage(Saved):
    """Who an image is and where its files are.

    Attributes:
        name: Unique in the evaluation.
        split: train, validation or test of the run, or external.
        group: Sequence or patient; empty where unknown, as the next two.
        centre: Hospital.
        source: Which of several folders of data it is of.
        mask_rule: What means polyp in the reference; empty for the automatic rule.
        image: None where only its prediction is known.
        reference: None where the image shows no polyp.
        prediction: None where a model predicts.
    """

    name: str
    split: str = "external"
    group: str = ""
    centre: str = ""
    source: str = ""
    mask_rule: str = ""
    image: RecordedFile | None = None
    reference: RecordedFile | None = None
    prediction: RecordedFile | None = None

    def without_paths(self) -> tuple[str, ...]:
        """All that tells it from another image, wherever its files are."""
        files = (self.image, self.reference, self.prediction)
        texts = (self.name, self.split, self.group, self.centre, self.source, self.mask_rule)
        return (*texts, *(file.sha256 if file else "" for file in files))


class AppliedRecalibration(Saved):
    """The recalibration of a model whose probabilities were scored: in words, and its digest."""

    words: str
    digest: str


class ScoredCalibration(Saved):
    """A calibration whose outer and inner masks were scored.

    Attributes:
        promise: In words.
        level: The share of pixels that may be wrong.
        confidence: How sure it is that the share holds; None: it holds on average.
        num_units: Groups of calibration frames that count once.
        frames: The beginnings of the calibration frames' digests.
        outer: How the outer mask is made; None where there is none.
        inner: How the inner mask is made.
    """

    promise: str
    level: float
    confidence: float | None = None
    num_units: int
    frames: tuple[str, ...] = ()
    outer: Bound | None = None
    inner: Bound | None = None


class EvaluationSource(Saved):
    """What is judged, and on which data.

    Attributes:
        kind: run, model or predictions.
        run: The run folder; None for the others.
        model: The model file; None for predictions, as the next three.
        model_digest: Of it.
        size: Side in pixels of what the model sees.
        engine: What runs it.
        facts: What a model file says of itself; None for a run.
        predictions: The folder of maps of another program; None for a model.
        references: The folder of their masks; None where no image shows a polyp.
        images: The folder of their images; None where they are unknown.
        data: The folder of images and masks; None for predictions.
        split: train, validation, test, all or external.
        split_source: Where the split comes from, in words; None where there is none.
        split_digest: Of the split manifest.
        checkpoint_chosen_by: In words.
        tta: Test-time augmentation.
        field: What the model sees of each image: auto or whole.
        recalibration: Of the model's probabilities; None where there is none.
        calibration: Whose outer and inner masks are scored too; None where none are.
    """

    kind: str
    run: str | None = None
    model: str | None = None
    model_digest: str | None = None
    size: int | None = None
    engine: str | None = None
    facts: ModelFacts | None = None
    predictions: str | None = None
    references: str | None = None
    images: str | None = None
    data: str | None = None
    split: str = "external"
    split_source: str | None = None
    split_digest: str | None = None
    checkpoint_chosen_by: str = "unknown"
    tta: str = "none"
    field: str = "whole"
    recalibration: AppliedRecalibration | None = None
    calibration: ScoredCalibration | None = None

    @property
    def subject(self) -> str:
        """The path of what is judged: the run, the model file or the folder of predictions."""
        return self.run or self.model or self.predictions or "unknown"

    @property
    def data_folder(self) -> str:
        """The folder that tells most of the data; empty where only polyp-free predictions were scored."""
        return self.data or self.references or self.images or ""


class SavedSettings(Saved):
    """How images were scored: `metrics.table.ScoreSettings`, which says what each means."""

    threshold: float
    peak_threshold: float = Field(0.0, alias="seed_threshold")
    groups: tuple[Group, ...] = GROUPS
    tolerance_px: float = 2.0
    tolerance_percent: float = 1.0
    min_iou: float = 0.0
    min_area_px: int = 10
    min_max: bool = False


def saved_settings(settings: ScoreSettings) -> SavedSettings:
    """The settings as they are saved."""
    return SavedSettings(**vars(settings))


class EvaluationRecord(Saved):
    """What evaluation.json holds.

    Attributes:
        format: Of the file.
        polypseg: Version.
        id: Of the evaluation; one that is continued keeps it, and its time.
        started: When.
        source: What is judged.
        threshold_source: Where the threshold comes from, in words.
        settings: How images are scored.
        save_maps: Whether probability maps are kept.
        skip_bad: Whether images that cannot be scored are skipped.
        columns: Of scores.csv.
        data_digest: Of the names and files of all images.
        skipped: What was left out before scoring.
        samples: The images, in the order of scores.csv.
    """

    format: int = 1
    polypseg: str = ""
    id: str
    started: str = ""
    source: EvaluationSource
    threshold_source: str = ""
    settings: SavedSettings
    save_maps: bool = False
    skip_bad: bool = False
    columns: tuple[str, ...] = ()
    data_digest: str = ""
    skipped: tuple[LeftOutImage, ...] = ()
    samples: tuple[ScoredImage, ...] = ()
