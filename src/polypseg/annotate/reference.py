"""A stored share of what a model knew: mixed in when it is trained again, and a test that it still knows it.

Decisions:
- It is drawn once and copied into the project: what a model is compared on must not change, nor vanish.
- Groups stay on one side, and what looks like a frame that compares models does not train. The official test images of
  Kvasir-SEG are never taken: nothing may be chosen by them.
"""

import random
import shutil
from collections.abc import Sequence
from pathlib import Path

from polypseg.annotate.mask_file import encode_mask
from polypseg.data.catalogue import find_samples
from polypseg.data.dividing import by_group, join_units
from polypseg.data.official import is_kvasir_seg, official_test_names
from polypseg.data.samples import Sample, load_sample
from polypseg.errors import DataError, ProjectError
from polypseg.formats.writing import write_png
from polypseg.preprocess import read_image
from polypseg.preprocess.reading import is_turned
from polypseg.progress import Track, silent
from polypseg.records.atomic import building, write_bytes, write_text
from polypseg.records.project import MASKS, REFERENCE, REFERENCE_NAME, ReferenceFile
from polypseg.records.reading import FileKind, read_json

NUM_TRAIN, NUM_TEST = 100, 100
"""So many frames of each, at most."""

FEWEST = 10
"""A smaller reference set tells nothing."""

SIDES = ("train", "test")
KIND = FileKind("reference set of a project", ProjectError, "remove its folder; it is drawn again with --reference")


def reference_of(folder: Path) -> ReferenceFile | None:
    """What a project's reference set says of itself; None where it has none.

    Raises:
        ProjectError: It is damaged.
    """
    path = folder / REFERENCE / REFERENCE_NAME
    return read_json(path, ReferenceFile, KIND) if path.is_file() else None


def store_reference(folder: Path, source: Path, seed: int = 0, track: Track = silent) -> ReferenceFile:
    """The reference set of a project, which is drawn of a data set where there is none yet.

    Args:
        folder: Of the project.
        source: Images and masks, in any layout that is known.
        seed: Of the draw.
        track: Shows progress.

    Raises:
        ProjectError: The project has one of another data set, or there are too few frames.
        DataError: The data set cannot be read.
    """
    known = reference_of(folder)
    if known is not None:
        if known.source != str(source.resolve()):
            raise ProjectError(
                f"{folder}: has a reference set already, of {known.source}; models are compared on it, so that it "
                f"stays: leave out --reference, or remove the folder {REFERENCE} to draw another"
            )
        return known
    samples = [sample for sample in find_samples(source)[0] if sample.mask_path is not None]
    train, test = _drawn(samples, seed, track)
    if min(len(train), len(test)) < FEWEST:
        raise ProjectError(
            f"{source}: gives {len(train)} frames to train with and {len(test)} to compare on; at least {FEWEST} of "
            "each are needed: name a larger data set"
        )
    record = ReferenceFile(
        source=str(source.resolve()),
        train=len(train),
        test=len(test),
        groups={sample.name: sample.group for sample in test if sample.group},
    )
    with building(folder / REFERENCE) as hidden:
        for side, chosen in zip(SIDES, (train, test), strict=True):
            for sample in track(chosen, "copying the reference set", len(chosen)):
                _copy(sample, hidden / side)
        write_text(hidden / REFERENCE_NAME, record.model_dump_json(indent=1) + "\n")
    return record


def _drawn(samples: Sequence[Sample], seed: int, track: Track) -> tuple[list[Sample], list[Sample]]:
    """Frames that train, and frames that compare models."""
    from polypseg.data.duplicates import near_duplicate_groups  # needs an extra, as training does

    names = [sample.name for sample in samples]
    never = official_test_names(names) if is_kvasir_seg(names) else frozenset()
    usable = [sample for sample in samples if sample.name not in never]
    units = join_units(len(usable), by_group([sample.group for sample in usable]))
    random.Random(seed).shuffle(units)
    sides: tuple[list[Sample], list[Sample]] = ([], [])
    for unit in units:
        wanted = (NUM_TRAIN - len(sides[0]), NUM_TEST - len(sides[1]))
        if max(wanted) > 0:
            # of a large group as many as are wanted: it is on one side all the same
            chosen = sides[0] if wanted[0] >= wanted[1] else sides[1]
            chosen += [usable[place] for place in unit[: max(wanted)]]
    train, test = sides
    joined = near_duplicate_groups([sample.image_path for sample in [*train, *test]], 4, track)
    alike = {i for group in joined if any(place >= len(train) for place in group) for i in group if i < len(train)}
    return [sample for place, sample in enumerate(train) if place not in alike], test


def _copy(sample: Sample, folder: Path) -> None:
    images, masks = folder / "images", folder / MASKS
    for inner in (images, masks):
        inner.mkdir(parents=True, exist_ok=True)
    try:
        if is_turned(sample.image_path):
            write_png(images / f"{sample.name}.png", read_image(sample.image_path))
        else:
            shutil.copyfile(sample.image_path, images / f"{sample.name}{sample.image_path.suffix.lower()}")
    except OSError as error:
        raise DataError(f"{sample.image_path}: cannot be copied ({error.strerror})") from error
    write_bytes(masks / f"{sample.name}.png", encode_mask(load_sample(sample)[1]))
