"""Samples: an image file and its mask file, paired by name.

Decisions:
- Files are paired by stem, never by their place in a sorted list; a mask may carry a suffix (`_mask`, …).
- A sample is checked by decoding both files once: what passes `check_samples` can be trained on.
- `skip_bad` leaves faulty samples out and says which; without it all of them are named in one error.
"""

import os
import warnings
from collections.abc import Callable, Container, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from polypseg.arrays import Image, Mask
from polypseg.errors import DataError, ImageError, PairingError, PolypsegWarning, listed
from polypseg.preprocess import (
    IMAGE_SUFFIXES,
    FieldRule,
    field_of,
    image_size,
    read_image,
    read_mask,
    resize_image,
    resize_mask,
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
    """

    name: str
    image_path: Path
    mask_path: Path | None
    group: str | None = None
    centre: str | None = None
    source: str | None = None


class Fault(NamedTuple):
    """A sample or file that cannot be used, and why."""

    name: str
    reason: str


class SkippedSamplesWarning(PolypsegWarning):
    """Samples were left out because `skip_bad` asked for it; the message lists them."""


def pair_samples(images_dir: Path, masks_dir: Path) -> tuple[list[Sample], list[Fault]]:
    """The samples of a folder of images and a folder of masks, in order of their names, and what does not pair.

    Raises:
        PairingError: A folder is missing or holds no images.
    """
    images, image_faults = _by_name(find_images(images_dir), lambda stem: stem)
    masks, mask_faults = _by_name(find_images(masks_dir), lambda stem: _image_stem(stem, images))
    samples = [Sample(stem, images[stem], masks[stem]) for stem in sorted(images.keys() & masks.keys())]
    faults = image_faults + mask_faults
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
    """
    if not folder.is_dir():
        raise PairingError(f"{folder}: no such folder; expected a folder of images (JPEG, PNG, TIFF or BMP)")
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))
    if not files:
        raise PairingError(f"{folder}: no image in this folder; expected files ending in .jpg, .png, .tif or .bmp")
    return files


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
    mask = np.zeros(image.shape[:2], bool) if sample.mask_path is None else read_mask(sample.mask_path)
    if image.shape[:2] != mask.shape:
        raise ImageError(_unlike(sample, image.shape[:2], mask.shape))
    if size is None:
        return image, mask
    seen, _ = field_of(image, field)
    return resize_image(seen.crop(image), (size, size)), resize_mask(seen.crop(mask), (size, size))


def check_samples(
    samples: Sequence[Sample], track: Track = silent, workers: int | None = None
) -> tuple[list[Sample], list[Fault]]:
    """The samples that can be used and the faults of the others, found by decoding every file."""
    usable: list[Sample] = []
    faults: list[Fault] = []
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        found = pool.map(_fault, samples)
        for sample, fault in zip(samples, track(found, "checking images", len(samples)), strict=True):
            usable.append(sample) if fault is None else faults.append(fault)
    return usable, faults


def refuse(faults: Sequence[Fault], skip_bad: bool, error: type[DataError] = DataError) -> None:
    """Nothing without faults; with them an error that names them, or a warning where `skip_bad` asked to go on.

    Raises:
        DataError: There are faults and `skip_bad` is False; of the class `error`.
    """
    if not faults:
        return
    lines = [f"{fault.name}: {fault.reason}" if fault.name not in fault.reason else fault.reason for fault in faults]
    if skip_bad:
        warnings.warn(f"left out {len(faults)} files:{listed(lines, 1000)}", SkippedSamplesWarning, stacklevel=2)
        return
    raise error(
        f"{len(faults)} of the files cannot be used; mend or remove them, or leave them out with skip_bad "
        f"(--skip-bad):{listed(lines)}"
    )


def _fault(sample: Sample) -> Fault | None:
    """Why a sample cannot be used, or None; sizes are compared from the headers before anything is decoded."""
    try:
        if sample.mask_path is not None:
            sizes = image_size(sample.image_path), image_size(sample.mask_path)
            if sizes[0] != sizes[1]:
                return Fault(sample.name, _unlike(sample, *sizes))
        load_sample(sample)
    except DataError as error:
        return Fault(sample.name, str(error))
    return None


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
    exact = {path.stem for path in files}
    for path in files:
        name = name_of(path.stem)
        if name != path.stem and name in exact:
            name = path.stem  # both a.png and a_mask.png are here: the plain one is the mask of a
        if name in found:
            faults.append(Fault(str(path), f"has the same name as {found[name].name}; expected one file a name"))
            continue
        found[name] = path
    return found, faults


def _image_stem(mask_stem: str, images: Container[str]) -> str:
    """The stem of the image that a mask's stem belongs to: the same, or without its suffix.

    >>> _image_stem("a_mask", {"a"}), _image_stem("b_seg", {"b_seg"})
    ('a', 'b_seg')
    """
    if mask_stem in images:
        return mask_stem
    suffix = next((suffix for suffix in MASK_NAME_SUFFIXES if mask_stem.lower().endswith(suffix)), "")
    stem = mask_stem[: len(mask_stem) - len(suffix)]
    if stem not in images and f"{stem}_" in images:
        return f"{stem}_"  # PolypGen's C3_EndoCV2021_00489_.jpg has the mask C3_EndoCV2021_00489_mask.jpg
    return stem
