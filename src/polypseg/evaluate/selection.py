"""Which images are scored: cases, and how they are chosen among what a folder holds.

Decisions:
- An image is recognised by its bytes, not by its name: one that the run was trained on is labelled `train` wherever
  it comes from.
- What is the run's own must still have the bytes that it had when the split was made.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from polypseg.data.samples import Sample
from polypseg.errors import PairingError, ScoreError, SplitError, UsageError, listed, plural, unknown_name
from polypseg.preprocess import AUTOMATIC, MaskRule
from polypseg.progress import Track
from polypseg.records.digests import file_digests
from polypseg.records.evaluation_record import RecordedFile, ScoredImage
from polypseg.records.reading import read_names
from polypseg.records.split import SPLIT_NAMES, Split

EXTERNAL = "external"
"""The split of an image that no part of the run's manifest holds."""


@dataclass(frozen=True)
class ImageToScore:
    """One image to be scored.

    Attributes:
        name: Unique among the cases.
        image_path: The image; None where only its prediction is at hand.
        reference_path: The mask; None where the image shows no polyp.
        prediction_path: The map that another program wrote; None where a model predicts.
        group: Sequence or patient; None if unknown.
        centre: Hospital; None if unknown.
        source: Which of a run's several folders of data it is of; None where there is one.
        split: train, validation or test of the run's manifest, or external.
        digests: SHA-256 of the bytes of image, reference and prediction, in hex; empty where there is none.
        mask_rule: What means polyp in the reference.
    """

    name: str
    image_path: Path | None
    reference_path: Path | None
    prediction_path: Path | None = None
    group: str | None = None
    centre: str | None = None
    source: str | None = None
    split: str = EXTERNAL
    digests: tuple[str, ...] = ("", "", "")
    mask_rule: MaskRule = AUTOMATIC

    @property
    def paths(self) -> tuple[Path | None, Path | None, Path | None]:
        """Image, reference and prediction."""
        return self.image_path, self.reference_path, self.prediction_path

    def texts(self) -> dict[str, str]:
        """Name, split, group, centre and source, empty where unknown."""
        known = {
            "name": self.name,
            "split": self.split,
            "group": self.group,
            "centre": self.centre,
            "source": self.source,
        }
        return {key: value or "" for key, value in known.items()}

    def record(self) -> ScoredImage:
        """Who the case is and where its files are, as evaluation.json holds it."""
        kinds = zip(("image", "reference", "prediction"), self.paths, self.digests, strict=True)
        files = {kind: RecordedFile(path=str(path.resolve()), sha256=digest) for kind, path, digest in kinds if path}
        rule = {"mask_rule": self.mask_rule.text()} if self.mask_rule else {}
        return ScoredImage.model_validate({**self.texts(), **rule, **files})


@dataclass(frozen=True)
class Selection:
    """Which of the images that are found are scored.

    Attributes:
        split: train, validation, test or all; None for the test split where there is one, else all.
        manifest: A split manifest (splits.json) that takes the place of the run's own.
        names: A text file with one name per line; only these are scored.
        negatives: The images have no masks and show no polyp.
        skip_bad: Leave out what does not pair or cannot be read, and list it.
        mask_rule: What means polyp in the references; None for what the run was trained with, on its own data.
    """

    split: str | None = None
    manifest: Path | None = None
    names: Path | None = None
    negatives: bool = False
    skip_bad: bool = False
    mask_rule: MaskRule | None = None

    def __post_init__(self) -> None:
        if self.split is not None and self.split not in (*SPLIT_NAMES, "all"):
            raise UsageError(unknown_name("split", self.split, (*SPLIT_NAMES, "all")))


def cases_of(samples: Iterable[Sample]) -> list[ImageToScore]:
    """The cases of samples whose predictions a model will make."""
    return [
        ImageToScore(s.name, s.image_path, s.mask_path, None, s.group, s.centre, s.source, mask_rule=s.mask_rule)
        for s in samples
    ]


def choose_split(
    samples: Sequence[Sample], manifest: Split, split: str | None, data: Path
) -> tuple[str, list[Sample], bool]:
    """The label of what is scored, its samples, and whether they are the manifest's own.

    Raises:
        SplitError: The split is empty, or the data hold none or not all of it.
    """
    names = {sample.name for sample in samples}
    if split is None:
        wanted = manifest.names("test")
        split = "test" if wanted and names.issuperset(wanted) else EXTERNAL
    if split in (EXTERNAL, "all"):
        return split, list(samples), False
    if not manifest.names(split):
        raise SplitError(f"the manifest's {split} split is empty; choose another --split, or all")
    if not names & set(manifest.names(split)):
        raise SplitError(
            f"{data}: holds none of the run's {split} images; to score these other data, leave out --split"
        )
    return split, manifest.select(samples, split), True


def label_splits(cases: Sequence[ImageToScore], manifest: Split, is_own: bool) -> list[ImageToScore]:
    """The cases, each with its split: of the manifest's own by name, of others by an image of the same bytes.

    Raises:
        SplitError: They are the manifest's own, and have changed since.
    """
    if is_own:
        changed = [case.image_path for case in cases if not _is_unchanged(case, manifest)]
        if changed:
            raise SplitError(
                f"{len(changed)} of the {len(cases)} samples are not what they were when the split was made (image "
                f"or mask); bring the old files back, or score them as other data (--split all):{listed(changed)}"
            )
        return [replace(case, split=manifest.entries[case.name].split) for case in cases]
    # of two entries with the same bytes the training one counts: the first of SPLIT_NAMES is written last
    in_order = sorted(manifest.entries.values(), key=lambda entry: -SPLIT_NAMES.index(entry.split))
    known = {entry.image_digest: entry.split for entry in in_order}
    return [replace(case, split=known.get(case.digests[0], EXTERNAL)) for case in cases]


NamedT = TypeVar("NamedT", ImageToScore, Sample)


def keep_named(cases: Sequence[NamedT], names: Path | None) -> list[NamedT]:
    """The cases (or samples) whose names a file lists (all without one), in order of their names.

    Raises:
        PairingError: A name of the file is not among the cases.
        ScoreError: The file cannot be read, or nothing is left.
    """
    chosen = list(cases)
    if names is not None:
        wanted = set(read_names(names, ScoreError))
        missing = sorted(wanted - {case.name for case in cases})
        if missing:
            raise PairingError(
                f"{names} names {plural(len(missing), 'image that is', 'images that are')} not there:{listed(missing)}"
            )
        chosen = [case for case in cases if case.name in wanted]
    if not chosen:
        raise ScoreError("no image is left to score; check --split, --names and --data")
    return sorted(chosen, key=lambda case: case.name)


def add_digests(cases: Sequence[ImageToScore], track: Track) -> list[ImageToScore]:
    """The cases with the digests of their files.

    Raises:
        SplitError: A file cannot be read.
    """
    unique = list(dict.fromkeys(path for case in cases for path in case.paths if path is not None))
    digests = file_digests(unique, track)
    return [replace(case, digests=tuple(digests[path] if path else "" for path in case.paths)) for case in cases]


def _is_unchanged(case: ImageToScore, manifest: Split) -> bool:
    entry = manifest.entries[case.name]
    return case.digests[:2] == (entry.image_digest, entry.mask_digest or "")
