"""Samples: an image file and its mask file, paired by name.

Decisions:
- Files are paired by stem, never by their place in a sorted list; a mask may carry a suffix (`_mask`, …). Two spellings
  of one Unicode name are one name; capitals count only where a name occurs in both.
- A sample is checked by decoding both files once: what passes `check_samples` can be trained on, as far as one sample
  tells (`data/masks.py` looks at all of them).
- A file among the images that cannot be read as one (a HEIC, a DICOM, a video) is a fault, not passed over.
- `skip_bad` leaves faulty samples out and says which; without it all of them are named in one error.
"""

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from polypseg.arrays import Image, Mask
from polypseg.errors import DataError, ImageError, PairingError, PolypsegWarning, listed, plural
from polypseg.preprocess import (
    AUTOMATIC,
    READABLE,
    FieldRule,
    MaskRule,
    endings,
    header_note,
    image_size,
    is_image_file,
    is_left_out,
    model_view,
    read_image,
    read_mask,
    read_mask_file,
    refuse_odd_names,
    resize_mask,
    unicode_name,
)
from polypseg.progress import Track, silent

MASK_NAME_SUFFIXES = ("_segmentation", "_mask", "_masks", "_seg", "_label", "_gt")
"""What a mask's stem may have that its image's has not (PolypGen, ISIC and others)."""


@dataclass(frozen=True)
class Sample:
    """One image with its reference.

    Attributes:
        name: The image's stem, unique within a data set.
        image_path: The image file.
        mask_path: The reference file; None where there is none.
        group: What must stay on one side of a split (a video sequence, a patient); None if unknown.
        centre: The hospital; None if unknown.
        source: Which of several folders of data it is of; None where there is one.
        mask_rule: What means polyp in the reference file.
        is_held_out: Whether its data set keeps it for tests alone.
    """

    name: str
    image_path: Path
    mask_path: Path | None
    group: str | None = None
    centre: str | None = None
    source: str | None = None
    mask_rule: MaskRule = AUTOMATIC
    is_held_out: bool = False


class Fault(NamedTuple):
    """A sample or file that cannot be used, and why."""

    name: str
    reason: str


class SkippedSamplesWarning(PolypsegWarning):
    """Samples were left out because `skip_bad` asked for it; the message lists them."""


class FurtherPicturesWarning(PolypsegWarning):
    """Files hold several pictures, of which the first one was read; the message lists them."""


class MaskFacts(NamedTuple):
    """What a mask says of the set that it belongs to.

    Attributes:
        name: The sample's.
        polyp: The value or colour that was taken for polyp; empty where there is none.
        share: Area of the polyp over that of the image, 0 to 1.
        border_share: Share of the image's outermost pixels that are polyp, 0 to 1.
        is_soft: Whether the file has other values than two.
        is_stated: Whether somebody said what is polyp in it, the user or the project that it was saved in.
    """

    name: str
    polyp: str
    share: float
    border_share: float
    is_soft: bool
    is_stated: bool = False


def pair_samples(images_dir: Path, masks_dir: Path, rule: MaskRule = AUTOMATIC) -> tuple[list[Sample], list[Fault]]:
    """The samples of a folder of images and a folder of masks, in order of their names, and what does not pair.

    Raises:
        PairingError: A folder is missing or holds no images.
        DataError: A file's name is not valid UTF-8.
    """
    images, image_faults = _by_name(find_images(images_dir), lambda stem: stem)
    known = _spellings(images)
    masks, mask_faults = _by_name(find_images(masks_dir), lambda stem: _image_stem(stem, known))
    samples = [Sample(stem, images[stem], masks[stem], mask_rule=rule) for stem in sorted(images.keys() & masks.keys())]
    faults = image_faults + mask_faults + left_out(images_dir) + left_out(masks_dir)
    faults += [
        Fault(str(images[stem]), f"no mask of that name in {masks_dir} (expected {stem}.png, {stem}_mask.png or alike)")
        for stem in sorted(images.keys() - masks.keys())
    ]
    faults += [
        Fault(str(masks[stem]), f"no image of that name in {images_dir}")
        for stem in sorted(masks.keys() - images.keys())
    ]
    return samples, faults


def find_images(folder: Path) -> list[Path]:
    """The image files of a folder (not of folders within), in order of their names.

    Raises:
        PairingError: No such folder, or no image in it.
        DataError: A file's name is not valid UTF-8.
    """
    if not folder.is_dir():
        raise PairingError(f"{folder}: no such folder; expected a folder of images ({READABLE})")
    files = sorted(path for path in folder.iterdir() if is_image_file(path))
    refuse_odd_names(files)
    if not files:
        others = [path for path in folder.iterdir() if is_left_out(path)]
        found = f" (it holds {endings(others)}, which cannot be read)" if others else ""
        raise PairingError(
            f"{folder}: no image in this folder{found}; expected files ending in .jpg, .png, .tif or .bmp ({READABLE})"
        )
    return files


def left_out(folder: Path) -> list[Fault]:
    """A fault that counts and names the files of a folder that are neither images nor what usually lies beside them."""
    others = sorted(path for path in folder.iterdir() if is_left_out(path))
    if not others:
        return []
    refuse_odd_names(others)
    names = ", ".join(path.name for path in others[:5]) + (", …" if len(others) > 5 else "")
    return [
        Fault(
            str(folder),
            f"{plural(len(others), 'file is no image', 'files are no images')} "
            f"that can be read ({endings(others)}): {names}; convert them, or move "
            "them elsewhere",
        )
    ]


def load_sample(sample: Sample, size: int | None = None, field: FieldRule = "whole") -> tuple[Image, Mask]:
    """Image and mask of a sample, at their own size or as the model sees them: squeezed to (size, size).

    Args:
        sample: What to load.
        size: Side in pixels; None for the image's own height and width.
        field: With a size: `auto` crops to the lit field first.

    Returns:
        Image (H, W, 3) uint8 and mask (H, W) bool. A sample without a mask file has an empty mask.

    Raises:
        ImageError: A file cannot be used, or the two differ in size.
    """
    image = read_image(sample.image_path)
    mask = (
        np.zeros(image.shape[:2], bool) if sample.mask_path is None else read_mask(sample.mask_path, sample.mask_rule)
    )
    if image.shape[:2] != mask.shape:
        raise ImageError(_unlike(sample, image.shape[:2], mask.shape))
    if size is None:
        return image, mask
    view = model_view(image, size, field)
    return view.square, resize_mask(view.field.crop(mask), (size, size))


def check_samples(
    samples: Sequence[Sample],
    track: Track = silent,
    workers: int | None = None,
    see: Callable[[Path, Image], None] | None = None,
) -> tuple[list[Sample], list[Fault], list[MaskFacts]]:
    """The samples that can be used, the faults of the others, and what the masks say; every file is decoded.

    Args:
        samples: As they were found.
        track: Shows progress.
        workers: Threads; None for one a core.
        see: Is given each image and its file, so that nobody has to decode it again.
    """
    warn_of_further_pictures(files_of(samples))
    usable: list[Sample] = []
    faults: list[Fault] = []
    facts: list[MaskFacts] = []
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        found = pool.map(partial(_look_at, see=see), samples)
        for sample, seen in zip(samples, track(found, "checking images", len(samples)), strict=True):
            if isinstance(seen, Fault):
                faults.append(seen)
                continue
            usable.append(sample)
            facts += [seen] if seen is not None else []
    return usable, faults, facts


def files_of(samples: Iterable[Sample]) -> list[Path | None]:
    """The images and masks of samples."""
    return [path for sample in samples for path in (sample.image_path, sample.mask_path)]


def warn_of_further_pictures(paths: Iterable[Path | None]) -> None:
    """Warn of the files that hold several pictures, as a phone's photos do."""
    found = further_pictures(paths)
    if found:
        warnings.warn(
            f"{plural(len(found), 'file holds', 'files hold')} further pictures; of each the first one is read:"
            f"{listed(found)}",
            FurtherPicturesWarning,
            stacklevel=3,
        )


def further_pictures(paths: Iterable[Path | None]) -> list[Path]:
    """The files that hold several pictures, of which the first one is read; from their headers alone."""
    return [path for path in dict.fromkeys(paths) if path is not None and header_note(path)]


def mask_facts(sample: Sample) -> tuple[Mask, MaskFacts]:
    """A sample's mask and what it says of the set.

    Raises:
        ImageError: The mask file cannot be used.
    """
    if sample.mask_path is None:
        raise ImageError(f"{sample.name}: has no mask file")
    found = read_mask_file(sample.mask_path, sample.mask_rule)
    mask = found.mask
    border = np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])
    shares = float(mask.mean()), float(border.mean())
    return mask, MaskFacts(sample.name, found.polyp, *shares, found.is_soft, sample.mask_rule.is_explicit)


def refuse(faults: Sequence[Fault], skip_bad: bool, error: type[DataError] = DataError) -> None:
    """Nothing without faults; with them an error that names them, or a warning where `skip_bad` asked to go on.

    Raises:
        DataError: There are faults and `skip_bad` is False; of the class `error`.
    """
    if not faults:
        return
    lines = [f"{fault.name}: {fault.reason}" if fault.name not in fault.reason else fault.reason for fault in faults]
    if skip_bad:
        warnings.warn(
            f"left out {plural(len(faults), 'file')}:{listed(lines, 1000)}", SkippedSamplesWarning, stacklevel=2
        )
        return
    raise error(
        f"{len(faults)} of the files cannot be used; mend or remove them, or leave them out with skip_bad "
        f"(--skip-bad):{listed(lines)}"
    )


def _look_at(sample: Sample, see: Callable[[Path, Image], None] | None = None) -> Fault | MaskFacts | None:
    """Why a sample cannot be used, or what its mask says; sizes are compared from the headers before all is decoded."""
    try:
        if sample.mask_path is None:
            image = read_image(sample.image_path)
            if see is not None:
                see(sample.image_path, image)
            return None
        sizes = image_size(sample.image_path), image_size(sample.mask_path)
        if sizes[0] != sizes[1]:
            return Fault(sample.name, _unlike(sample, *sizes))
        image = read_image(sample.image_path)
        if see is not None:
            see(sample.image_path, image)
        mask, facts = mask_facts(sample)
        return (
            facts if image.shape[:2] == mask.shape else Fault(sample.name, _unlike(sample, image.shape[:2], mask.shape))
        )
    except DataError as error:
        return Fault(sample.name, str(error))


def _unlike(sample: Sample, image: Iterable[int], mask: Iterable[int]) -> str:
    hint = " (one of them is turned: look at their EXIF orientation)" if list(image)[::-1] == list(mask) else ""
    sizes = "x".join(map(str, image)), "x".join(map(str, mask))
    return (
        f"{sample.image_path} is {sizes[0]} (height x width), its mask {sample.mask_path} is {sizes[1]}; "
        f"expected one size{hint}"
    )


def _by_name(files: Sequence[Path], name_of: Callable[[str], str]) -> tuple[dict[str, Path], list[Fault]]:
    """The files by the names that their stems stand for, and those whose name another file has already."""
    found: dict[str, Path] = {}
    faults: list[Fault] = []
    exact = {unicode_name(path.stem) for path in files}
    for path in files:
        stem = unicode_name(path.stem)
        name = name_of(stem)
        if name != stem and name in exact:
            name = stem  # both a.png and a_mask.png are here: the plain one is the mask of a
        if name in found:
            faults.append(Fault(str(path), f"has the same name as {found[name].name}; expected one file per name"))
            continue
        found[name] = path
    return found, faults


def _spellings(names: Iterable[str]) -> dict[str, str]:
    """Each name by itself and, where it is the only one so written, by its small letters."""
    names = list(names)
    folded = [name.casefold() for name in names]
    alone = {fold: name for fold, name in zip(folded, names, strict=True) if folded.count(fold) == 1}
    return alone | {name: name for name in names}


def _image_stem(mask_stem: str, images: Mapping[str, str]) -> str:
    """The stem of the image that a mask's stem belongs to: the same, without its suffix, or the number after a p.

    >>> _image_stem("a_mask", {"a": "a"}), _image_stem("b_seg", {"b_seg": "b_seg"}), _image_stem("C", {"c": "c"})
    ('a', 'b_seg', 'c')
    >>> _image_stem("p12", {"12": "12"}), _image_stem("p12", {"12": "12", "p12": "p12"})  # ETIS-Larib
    ('12', 'p12')
    """
    suffix = next((suffix for suffix in MASK_NAME_SUFFIXES if mask_stem.lower().endswith(suffix)), "")
    stem = mask_stem[: len(mask_stem) - len(suffix)]
    # PolypGen's C3_EndoCV2021_00489_.jpg has the mask C3_EndoCV2021_00489_mask.jpg
    numbered = [mask_stem[1:]] if mask_stem[:1] == "p" and mask_stem[1:].isdecimal() else []
    candidates = dict.fromkeys((mask_stem, stem, f"{stem}_" if suffix else stem, *numbered))
    tried = [*candidates, *(candidate.casefold() for candidate in candidates)]
    return next((images[candidate] for candidate in tried if candidate in images), stem)
