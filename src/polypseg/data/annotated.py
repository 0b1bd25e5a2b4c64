"""Samples of annotation files: which regions are polyps, which frames can be used, and their masks as files.

Decisions:
- A label means polyp where it is the word itself; any other label stops, and the user says which ones are meant. What a
  label means is never guessed from its name.
- A frame without a region shows no polyp where its file says that somebody looked at it, where it has regions of other
  labels, or where the user says so. Otherwise it is a fault: nobody may have labelled it yet.
- Training and scoring read masks from files. They are drawn into a cache (POLYPSEG_CACHE, else ~/.cache/polypseg), as
  files whose bytes depend on nothing but the pixels, so that a split's digests hold on every machine.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from polypseg.arrays import Mask
from polypseg.data.samples import Fault, Sample
from polypseg.errors import DataError, ImageError
from polypseg.formats.annotations import AnnotatedFrame, AnnotatedRegion
from polypseg.formats.finding import FoundAnnotations, frame_names, read_annotations
from polypseg.formats.images import ImageFiles
from polypseg.formats.outlines import Size
from polypseg.formats.writing import Labelled
from polypseg.preprocess import MaskRule, image_size
from polypseg.records.atomic import write_bytes

POLYP_LABELS = frozenset({"polyp", "polyps"})
"""In small letters."""

ALL_LABELS = "*"

DRAWN = MaskRule(values=(255,))
"""What means polyp in the masks that are drawn here."""


def annotated_samples(
    found: FoundAnnotations, rule: MaskRule, empty_masks: bool = False
) -> tuple[list[Sample], list[Fault]]:
    """The samples of annotations, their masks drawn into the cache, and what cannot be used.

    Args:
        found: The annotations of a folder.
        rule: Its labels (or values) say what means polyp.
        empty_masks: Frames without a region show no polyp.

    Raises:
        DataError: A file is damaged, a label is not known, or the cache cannot be written.
    """
    frames, faults = labelled_frames(found, rule, empty_masks)
    folder = mask_folder(found.folder, rule)
    samples = []
    for frame in frames:
        path = folder / f"{frame.name}.pnm"
        _draw(path, mask_of(frame))
        samples.append(Sample(frame.name, frame.image_path, path, mask_rule=DRAWN))
    return samples, faults


def labelled_frames(
    found: FoundAnnotations, rule: MaskRule, empty_masks: bool = False
) -> tuple[list[Labelled], list[Fault]]:
    """The frames that are annotated, with their polyps, and what cannot be used; arguments as `annotated_samples`.

    Raises:
        DataError: A file is damaged, or a label is not known.
    """
    images = ImageFiles(found.folder)
    annotations = read_annotations(found, images)
    wanted = _Wanted(annotations.frames, rule, found)
    names, faults = frame_names(found, images), [Fault(*unusable) for unusable in annotations.unusable]
    labelled: dict[Path, Labelled] = {}
    met: set[Path] = set()
    for frame in annotations.frames:
        try:
            path = images.find(frame.file)
        except LookupError as error:
            faults.append(Fault(frame.file, frame.fault or str(error)))
            continue
        if path in met:
            labelled.pop(path, None)
            faults.append(Fault(str(path), f"is annotated twice in {found.title}; keep one of the annotations"))
            continue
        met.add(path)
        try:
            labelled[path] = Labelled(names[path], path, *_checked(frame, path, wanted, empty_masks))
        except DataError as error:
            faults.append(Fault(str(path), str(error)))
    strangers = [path for path in images.paths if path not in met]
    for path in strangers:
        try:
            if not empty_masks:
                raise DataError(f"no annotation of it in {found.title}")
            labelled[path] = Labelled(names[path], path, image_size(path), ())
        except DataError as error:
            faults.append(Fault(str(path), str(error)))
    return sorted(labelled.values(), key=lambda frame: frame.name), faults


def mask_of(frame: Labelled) -> Mask:
    """All polyps of a frame, (H, W) bool."""
    mask = np.zeros(frame.size, bool)
    for region in frame.regions:
        mask |= region.pixels(frame.size)
    return mask


def mask_folder(folder: Path, rule: MaskRule) -> Path:
    """Where the masks of a folder's annotations are drawn."""
    given = os.environ.get("POLYPSEG_CACHE")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "polypseg"
    key = hashlib.sha256(f"{folder.resolve()}\0{rule.text()}".encode()).hexdigest()[:16]
    return (Path(given) if given else home) / "masks" / key


class _Wanted:
    """Tells which regions are polyps."""

    def __init__(self, frames: Sequence[AnnotatedFrame], rule: MaskRule, found: FoundAnnotations) -> None:
        regions = [region for frame in frames for region in frame.regions]
        present = Counter(region.label for region in regions)
        self._labels, self._values = frozenset(rule.labels), frozenset(rule.values)
        if not self._labels and not self._values:
            unknown = [label for label in present if label.strip().lower() not in POLYP_LABELS]
            if unknown:
                told = ", ".join(f"{label or '(none)'} ({count})" for label, count in present.most_common(12))
                raise DataError(
                    f"{found.folder}: which labels mean polyp? {found.title} has regions of {told}; say it with "
                    f'--polyp-labels "{",".join(filter(None, present)) or ALL_LABELS}"'
                )
            self._labels = frozenset(present)
        elif regions and not any(map(self.takes, regions)):
            given = ", ".join([*rule.labels, *map(str, rule.values)])
            raise DataError(f"{found.folder}: no region is labelled {given}; the labels are: {', '.join(present)}")

    def takes(self, region: AnnotatedRegion) -> bool:
        """Whether a region is a polyp."""
        return ALL_LABELS in self._labels or region.label in self._labels or region.value in self._values


def _checked(
    frame: AnnotatedFrame, path: Path, wanted: _Wanted, empty_masks: bool
) -> tuple[Size, tuple[AnnotatedRegion, ...]]:
    """The size of a frame and its polyps.

    Raises:
        DataError: It cannot be used; the message is for one image.
    """
    if frame.fault:
        raise DataError(frame.fault)
    size = image_size(path)
    if frame.size is not None and frame.size != size:
        sizes = "x".join(map(str, frame.size)), "x".join(map(str, size))
        turned = " (one of them is turned: look at its EXIF orientation)" if frame.size == size[::-1] else ""
        raise ImageError(f"annotated at {sizes[0]} (height x width), the image is {sizes[1]}{turned}")
    if not frame.regions and not frame.is_labelled and not empty_masks:
        raise DataError(
            "has no region, and the file does not say whether somebody looked at it; leave it out with --skip-bad, or, "
            "if these frames show no polyp, say so: polypseg data convert --empty-masks"
        )
    polyps = tuple(region for region in frame.regions if wanted.takes(region))
    for region in polyps:
        fault = region.fault_in(size) or ("" if region.pixels(size).any() else "a region covers no pixel")
        if fault:
            raise DataError(f"{region.label or 'a region'}: {fault}")
    return size, polyps


def _draw(path: Path, mask: Mask) -> None:
    """Write a mask as a PNM file of one bit a pixel, unless it is there.

    Raises:
        DataError: It cannot be written.
    """
    height, width = mask.shape
    content = f"P4\n{width} {height}\n".encode("ascii") + np.packbits(~mask, axis=1).tobytes()  # 1 is black
    with suppress(OSError):
        if path.read_bytes() == content:
            return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content)
    except OSError as error:
        if path.is_file() and path.read_bytes() == content:  # another process wrote it at the same moment
            return
        raise DataError(
            f"{path}: cannot write a mask there ({error.strerror}); name another folder in POLYPSEG_CACHE"
        ) from error


def unknown_files(folders: Iterable[Path]) -> list[str]:
    """The names of JSON and XML files in folders of images, which are of no format that is known."""
    return sorted(
        {path.name for folder in folders for path in folder.iterdir() if path.suffix.lower() in (".json", ".xml")}
    )
