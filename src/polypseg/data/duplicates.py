"""Near-duplicate images, found by a perceptual hash (imagehash's 64-bit pHash) and its Hamming distance."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from polypseg.arrays import Image
from polypseg.preprocess import read_image
from polypseg.progress import Track, silent


class NearDuplicate(NamedTuple):
    """Two images, by their places in the list, and the bits in which their hashes differ."""

    first: int
    second: int
    bits: int


def perceptual_hashes(image_paths: Sequence[Path], track: Track = silent) -> NDArray[np.uint64]:
    """The 64-bit perceptual hash of each image, shape (N,).

    Reference:
        Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010 (pHash by DCT).
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        hashes = pool.map(_hash, image_paths)
        return np.array(list(track(hashes, "hashing images", len(image_paths))), np.uint64)


def near_duplicates(hashes: NDArray[np.uint64], bits: int) -> list[NearDuplicate]:
    """Every pair whose hashes differ in at most `bits` of 64 bits.

    >>> near_duplicates(np.array([0b0000, 0b0011, 0b1111], np.uint64), bits=2)
    [NearDuplicate(first=0, second=1, bits=2), NearDuplicate(first=1, second=2, bits=2)]
    """
    pairs: list[NearDuplicate] = []
    for first in range(len(hashes) - 1):
        distance = np.bitwise_count(hashes[first + 1 :] ^ hashes[first])
        for offset in np.flatnonzero(distance <= bits):
            pairs.append(NearDuplicate(first, first + 1 + int(offset), int(distance[offset])))
    return pairs


def near_duplicate_groups(image_paths: Sequence[Path], bits: int, track: Track = silent) -> list[list[int]]:
    """The places of images that are near-duplicates of one another, directly or through a third, two or more each."""
    return join(len(image_paths), near_duplicates(perceptual_hashes(image_paths, track), bits))


def join(count: int, pairs: Sequence[NearDuplicate]) -> list[list[int]]:
    """The connected components, of two or more, of `count` places joined by the pairs.

    >>> join(4, [NearDuplicate(0, 2, 1), NearDuplicate(2, 3, 0)])
    [[0, 2, 3]]
    """
    links = coo_array((np.ones(len(pairs)), ([p.first for p in pairs], [p.second for p in pairs])), (count, count))
    _, label = connected_components(links, directed=False)
    groups: dict[int, list[int]] = {}
    for place, component in enumerate(label):
        groups.setdefault(int(component), []).append(place)
    return [group for group in groups.values() if len(group) > 1]


def perceptual_hash(image: Image) -> int:
    """The 64-bit perceptual hash of an image (H, W, 3) uint8."""
    grey = PillowImage.fromarray(image).convert("L").resize((256, 256), PillowImage.Resampling.BOX)
    return int(str(imagehash.phash(grey)), 16)


def _hash(path: Path) -> int:
    return perceptual_hash(read_image(path))
