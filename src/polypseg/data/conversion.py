"""One data set from one format into another, images and groups included.

Decisions:
- Masks become one polyp for each connected region; annotations keep their own polyps apart.
- What cannot be used stops the conversion, or is left out where the user asked for it, and is listed.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from polypseg.data.annotated import labelled_frames
from polypseg.data.catalogue import find_samples, with_groups
from polypseg.data.layouts import Part, recognise
from polypseg.data.masks import set_faults
from polypseg.data.samples import Fault, Sample, check_samples, load_sample, refuse
from polypseg.errors import DataError
from polypseg.formats.annotations import POLYP, AnnotatedRegion
from polypseg.formats.finding import FoundAnnotations, format_of_file
from polypseg.formats.outlines import component_masks, run_lengths
from polypseg.formats.writing import Labelled, write_data_set, written_format
from polypseg.preprocess import AUTOMATIC, MaskRule
from polypseg.progress import Track, silent
from polypseg.records.atomic import write_text


@dataclass(frozen=True)
class Converted:
    """What a conversion did.

    Attributes:
        source: What the data were recognised as, in words.
        num_frames: Frames written.
        num_polyps: Polyps on them.
        num_empty: Frames without a polyp.
        notes: What the new format could not hold, a line each.
    """

    source: str
    num_frames: int
    num_polyps: int
    num_empty: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ConversionOptions:
    """How the data of a conversion are read.

    Attributes:
        images: Where the images of an annotation file are; None for its own folder.
        rule: What means polyp.
        empty_masks: Whether frames without a mask or a region show no polyp.
        skip_bad: Whether to leave out what cannot be used.
    """

    images: Path | None = None
    rule: MaskRule = AUTOMATIC
    empty_masks: bool = False
    skip_bad: bool = False


PLAIN = ConversionOptions()


def convert(
    source: Path,
    out: Path,
    format_name: str,
    options: ConversionOptions = PLAIN,
    track: Track = silent,
) -> Converted:
    """Write a data set in another format.

    Args:
        source: A folder as `find_samples` takes it, or an annotation file (JSON or XML).
        out: A new or empty folder.
        format_name: Of `formats.writing.FORMATS`.
        options: How the data are read.
        track: Shows progress.

    Raises:
        DataError: The data cannot be understood, or something in them cannot be used.
        UsageError: No such format.
    """
    written_format(format_name)
    told, frames, groups, faults = read_frames(source, options.images, options.rule, options.empty_masks, track)
    refuse(faults, options.skip_bad)
    if not frames:
        raise DataError(f"{source}: holds no frame that can be used; look at it with polypseg data check {source}")
    notes = write_data_set(out, format_name, frames, track)
    _write_groups(out, groups)
    num_polyps = sum(len(frame.regions) for frame in frames)
    return Converted(told, len(frames), num_polyps, sum(not frame.regions for frame in frames), tuple(notes))


def read_frames(
    source: Path, images: Path | None, rule: MaskRule, empty_masks: bool, track: Track
) -> tuple[str, list[Labelled], list[Sample], list[Fault]]:
    """What the data are in words, their frames, samples that tell groups, and what cannot be used.

    Arguments and errors as `convert`.
    """
    if source.is_file():
        name = format_of_file(source) if source.suffix.lower() in (".json", ".xml") else None
        if name is None:
            raise DataError(
                f"{source}: of no annotation format that is known; expected a folder, a JSON or an XML file"
            )
        found = FoundAnnotations(name, (source,), images or source.parent)
        return found.title, *_of_annotations(Part(found.folder, None, annotations=found), rule, empty_masks)
    layout = recognise(source)
    if layout.parts[0].annotations is not None:
        return layout.title, *_of_annotations(layout.parts[0], rule, empty_masks)
    samples, faults = find_samples(source, empty_masks, rule)
    usable, unusable, facts = check_samples(samples, track)
    faults = [*faults, *unusable, *(Fault(str(source), text) for text in set_faults(facts, rule, empty_masks))]
    return layout.title, [_frame(sample) for sample in usable], usable, faults


def _of_annotations(part: Part, rule: MaskRule, empty_masks: bool) -> tuple[list[Labelled], list[Sample], list[Fault]]:
    if part.annotations is None:
        return [], [], []
    frames, faults = labelled_frames(part.annotations, rule, empty_masks)
    centres = part.table.centres
    samples = [Sample(f.name, f.image_path, None, centre=centres.get(f.name, part.centre)) for f in frames]
    return frames, with_groups(samples, part), faults


def _frame(sample: Sample) -> Labelled:
    _, mask = load_sample(sample)
    regions = tuple(AnnotatedRegion(POLYP, (), tuple(run_lengths(part))) for part in component_masks(mask))
    return Labelled(sample.name, sample.image_path, (mask.shape[0], mask.shape[1]), regions)


def _write_groups(out: Path, samples: Sequence[Sample]) -> None:
    """Write groups.csv where groups are known."""
    known = [sample for sample in samples if sample.group is not None]
    if not known:
        return
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("frame", "group", "centre"))
    table.writerows((sample.name, sample.group, sample.centre or "") for sample in known)
    write_text(out / "groups.csv", text.getvalue())
