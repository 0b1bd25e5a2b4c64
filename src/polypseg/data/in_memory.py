"""A data set in memory: the reference system's `load_polyp_dataset`, and the check of arrays made elsewhere."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from polypseg.arrays import Image, Mask
from polypseg.data.catalogue import with_groups
from polypseg.data.layouts import recognise_pair
from polypseg.data.masks import mixed_values
from polypseg.data.samples import (
    Fault,
    MaskFacts,
    Sample,
    files_of,
    load_sample,
    mask_facts,
    pair_samples,
    refuse,
    warn_of_further_pictures,
)
from polypseg.errors import DataError, PairingError, UsageError, plural
from polypseg.preprocess import AUTOMATIC, MaskRule, normalise
from polypseg.progress import Track, slow_steps_told


class _Arrays(NamedTuple):
    images: NDArray[np.float32]
    masks: NDArray[np.float32]
    names: Sequence[str]


class PolypDataset(_Arrays):
    """What `load_polyp_dataset` returns; it unpacks as `images, masks, names`.

    Attributes:
        images: Shape (N, size, size, 3), float32 in [0, 1].
        masks: Shape (N, size, size, 1), float32, each value 0 or 1.
        names: The N file stems.
        groups: What a split keeps on one side (a video sequence, a patient), None where unknown; one a sample.
    """

    groups: list[str | None]

    def __new__(
        cls,
        images: NDArray[np.float32],
        masks: NDArray[np.float32],
        names: Sequence[str],
        groups: Sequence[str | None] | None = None,
    ) -> "PolypDataset":
        """Put the arrays together; without `groups` none is known."""
        dataset = super().__new__(cls, images, masks, names)
        dataset.groups = [None] * len(names) if groups is None else list(groups)
        return dataset


def checked_dataset(data: tuple[Any, ...]) -> PolypDataset:
    """The arrays as a `PolypDataset`, after a look at what they hold.

    Args:
        data: (images, masks, names), as `load_polyp_dataset` gives them or made by hand.

    Raises:
        UsageError: Not three things; shapes that do not fit; images outside [0, 1]; masks that are not 0 and 1;
            names that occur twice.
    """
    if len(data) != 3:
        raise UsageError(f"a tuple of {len(data)}: expected (images, masks, names), as load_polyp_dataset returns")
    images, masks, names = np.asarray(data[0]), np.asarray(data[1]), [str(name) for name in data[2]]
    groups = data.groups if isinstance(data, PolypDataset) else None
    if images.ndim != 4 or images.shape[3] != 3 or images.shape[1] != images.shape[2]:
        raise UsageError(f"images of shape {images.shape}: expected (N, size, size, 3)")
    if masks.shape != (*images.shape[:3], 1):
        raise UsageError(f"masks of shape {masks.shape}: expected {(*images.shape[:3], 1)}, as the images are")
    if len(names) != len(images) or len(set(names)) != len(names):
        raise UsageError(
            f"{plural(len(set(names)), 'different name')} "
            f"for {plural(len(images), 'image')}: expected one name for each"
        )
    if groups is not None and len(groups) != len(names):
        raise UsageError(
            f"{plural(len(groups), 'group')} for {plural(len(names), 'image')}: expected one for each, or None"
        )
    low, high = (float(images.min()), float(images.max())) if len(images) else (0.0, 1.0)
    if not (low >= 0.0 and high <= 1.0):  # NaN fails too
        raise UsageError(f"images with values from {low:g} to {high:g}: expected [0, 1]; divide 0..255 by 255")
    if any(not np.isin(mask, (0, 1)).all() for mask in masks):
        raise UsageError("masks with values other than 0 and 1; cut 0..255 at > 127, as load_polyp_dataset does")
    return PolypDataset(images, masks, names, groups)


def load_polyp_dataset(
    images_dir: Path | str,
    masks_dir: Path | str,
    size: int = 256,
    skip_bad: bool = False,
    mask_rule: MaskRule = AUTOMATIC,
    track: Track = slow_steps_told,
) -> PolypDataset:
    """Every image and mask of two folders, paired by file stem and squeezed to (size, size), in memory.

    Masks are made two-valued before they are resized, and stay so.

    Args:
        images_dir: JPEG, PNG, TIFF, BMP, WebP and other files that `read_image` reads.
        masks_dir: Masks of the same stems, which may end in `_mask`, `_segmentation` or alike.
        size: Side of the square in pixels.
        skip_bad: Leave out what cannot be used, with a SkippedSamplesWarning that lists it.
        mask_rule: What means polyp in the mask files; by itself it is found by their pixels.
        track: Shows progress.

    Returns:
        images (N, size, size, 3) float32 in [0, 1], masks (N, size, size, 1) float32 in {0, 1}, names; and, as an
        attribute, the groups that a sequences.csv or groups.csv beside the folder of images tells.

    Raises:
        PairingError: A folder is missing or empty, or files do not pair.
        DataError: Files that cannot be read, differ in size, or are not masks; all are named. Or the file of groups
            is damaged, or does not know every image.
        UsageError: The size is less than 1.

    Example:
        images, masks, names = load_polyp_dataset("Kvasir-SEG/images", "Kvasir-SEG/masks", size=256)
    """
    if size < 1:
        raise UsageError(f"size {size}: expected at least 1 pixel")
    folder = Path(images_dir)
    samples, faults = pair_samples(folder, Path(masks_dir), mask_rule)
    refuse(faults, skip_bad, PairingError)
    samples = with_groups(samples, recognise_pair(folder.resolve().parent, folder, Path(masks_dir)).parts[0])
    warn_of_further_pictures(files_of(samples))
    images = np.empty((len(samples), size, size, 3), np.float32)
    masks = np.empty((len(samples), size, size, 1), np.float32)
    names: list[str] = []
    groups: list[str | None] = []
    bad: list[Fault] = []
    facts: list[MaskFacts] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        read = track(pool.map(lambda s: _try_load(s, size), samples), "reading images and masks", len(samples))
        for sample, loaded in zip(samples, read, strict=True):
            if isinstance(loaded, Fault):
                bad.append(loaded)
                continue
            images[len(names)] = normalise(loaded[0])
            masks[len(names), ..., 0] = loaded[1]
            facts.append(loaded[2])
            names.append(sample.name)
            groups.append(sample.group)
    refuse(bad, skip_bad)
    if not names:
        raise DataError(f"{images_dir}: no usable sample is left")
    problem = mixed_values(facts, mask_rule)
    if problem:
        raise DataError(f"{masks_dir}: {problem}")
    return PolypDataset(images[: len(names)], masks[: len(names)], names, groups)


def _try_load(sample: Sample, size: int) -> tuple[Image, Mask, MaskFacts] | Fault:
    try:
        return *load_sample(sample, size), mask_facts(sample)[1]
    except DataError as error:
        return Fault(sample.name, str(error))
