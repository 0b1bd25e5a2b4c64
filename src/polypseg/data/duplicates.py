"""Near-duplicates: files that show one frame, or one scene a moment later, at any size, quality and margin.

Two stages. Candidates are found among all pairs: perceptual hashes within a few bits, or small pictures of the
local contrast that correlate, in any of the eight ways in which a picture can be turned and mirrored. A candidate
is confirmed where larger pictures of the local contrast correlate once they are laid upon one another.

Measured, judged by eye and by the video sequences:
- Kvasir-SEG, 499,500 pairs: 656 candidates, 22 confirmed, all right: 18 times the very frame (14 of them once with
  and once without a panel or margin, at hash distances up to 34 bits), 4 times one scene. Of the rest the best pair
  that shows two scenes reaches 0.42; one scene seen twice, further apart, stays out at 0.38.
- CVC-ClinicDB, 186,966 pairs: 2,109 candidates, 272 confirmed, each within one sequence; the best pair of two
  sequences reaches 0.51.
- Of 60 images of Kvasir-SEG and 60 synthetic ones every copy was found at JPEG quality 30, with the longer side
  shrunk to a quarter, squeezed to 64 x 64, mirrored, turned, grey, darker, brighter or cut by 5 %; of those cut by
  10 % 87 of 120. No pair of different images was confirmed.

Decisions:
- All pairs are compared, in blocks: memory grows with the number of images, time with its square.
- What is not found: a frame cut by more than about a tenth of a side, or a polyp seen again from elsewhere.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from polypseg.arrays import Image
from polypseg.data.fingerprints import COARSE_SIDE, SIDE, Fingerprint, fingerprint
from polypseg.preprocess import read_image
from polypseg.progress import Track, silent

HASH_BITS = 4
"""Hashes that differ in so many of 64 bits make a candidate."""

COARSE_SIMILARITY = 0.42
"""Correlation of the small pictures that makes a candidate; 0.13 % of Kvasir-SEG's pairs reach it."""

TURNED_COARSE_SIMILARITY = 0.6
"""The same where one of the two is turned or mirrored, which adds seven chances to be alike by accident."""

SIMILARITY = 0.55
"""Correlation after alignment that confirms a pair; pairs of different scenes reach 0.51 (see above)."""

MIN_COMMON_SHARE = 0.2
"""So much of the picture must be shown by both."""

ORIENTATIONS = (
    "upright", "turned left", "turned around", "turned right",
    "mirrored", "mirrored and turned left", "upside down", "mirrored and turned right",
)  # fmt: skip
"""How the second image lies to the first: number k is np.rot90(np.fliplr(second) if k >= 4 else second, k % 4)."""

_BLOCK = 1024


class SimilarPair(NamedTuple):
    """Two images, by their places in the list, that show the same.

    Attributes:
        first: The smaller place.
        second: The larger place.
        similarity: Correlation of their local contrast after alignment, at most 1; 1 for identical pixels.
        orientation: One of ORIENTATIONS: how the second has to be laid to fit the first.
        is_identical: Whether all pixels are equal.
    """

    first: int
    second: int
    similarity: float
    orientation: str
    is_identical: bool


class Candidate(NamedTuple):
    """Two images that may show the same, and the orientation (0..7) in which they may."""

    first: int
    second: int
    orientation: int


class DecodedImages:
    """Fingerprints of images that were decoded for something else, so that they are decoded once."""

    def __init__(self) -> None:
        self._prints: dict[Path, Fingerprint] = {}

    def see(self, path: Path, image: Image) -> None:
        """Keep the fingerprint of an image (H, W, 3) uint8 of that file; from any thread."""
        self._prints[path] = fingerprint(image)

    def print_of(self, path: Path) -> Fingerprint:
        """The fingerprint of a file, which is read where it was not seen.

        Raises:
            ImageError: It cannot be read.
        """
        return self._prints[path] if path in self._prints else fingerprint(read_image(path))


def near_duplicate_groups(
    image_paths: Sequence[Path], bits: int = HASH_BITS, track: Track = silent, seen: DecodedImages | None = None
) -> list[list[int]]:
    """The places of images that are near-duplicates of one another, directly or through a third, two or more each.

    Args:
        image_paths: Readable images.
        bits: As in `similar_pairs`.
        track: Shows progress.
        seen: Images that were decoded before.

    Raises:
        ImageError: A file cannot be read.
    """
    return join(len(image_paths), similar_pairs(fingerprints(image_paths, track, seen), bits, track))


def fingerprints(
    image_paths: Sequence[Path], track: Track = silent, seen: DecodedImages | None = None
) -> list[Fingerprint]:
    """The fingerprint of each image file; arguments as `near_duplicate_groups`.

    Raises:
        ImageError: A file cannot be read.
    """
    known = seen or DecodedImages()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        prints = pool.map(known.print_of, image_paths)
        return list(track(prints, "reading images", len(image_paths)))


def similar_pairs(prints: Sequence[Fingerprint], bits: int = HASH_BITS, track: Track = silent) -> list[SimilarPair]:
    """Every pair of images that show the same frame or scene, in order of their places.

    Args:
        prints: From `fingerprint` or `fingerprints`.
        bits: Pairs whose 64-bit hashes differ in at most so many bits are looked at too, however little their
            visible parts seem to correlate. More bits find more and take longer; what is found is confirmed.
        track: Shows progress.
    """
    return _confirmed(prints, find_candidates(prints, bits, track), track)


def similar_across(
    image_paths: Sequence[Path], other_paths: Sequence[Path], bits: int = HASH_BITS, track: Track = silent
) -> list[SimilarPair]:
    """Every pair of an image and one of the others that show the same; `second` is the place among the others.

    Args:
        image_paths: For example the images that are scored.
        other_paths: For example those that the model was trained on.
        bits: As in `similar_pairs`.
        track: Shows progress.

    Raises:
        ImageError: A file cannot be read.
    """
    prints = fingerprints([*image_paths, *other_paths], track)
    border = len(image_paths)
    candidates = [c for c in find_candidates(prints, bits, track) if c.first < border <= c.second]
    return [pair._replace(second=pair.second - border) for pair in _confirmed(prints, candidates, track)]


def join(count: int, pairs: Sequence[SimilarPair]) -> list[list[int]]:
    """The connected components, of two or more, of `count` places joined by the pairs.

    >>> join(4, [SimilarPair(0, 2, 0.9, "upright", False), SimilarPair(2, 3, 0.8, "upright", False)])
    [[0, 2, 3]]
    """
    links = coo_array((np.ones(len(pairs)), ([p.first for p in pairs], [p.second for p in pairs])), (count, count))
    _, label = connected_components(links, directed=False)
    groups: dict[int, list[int]] = {}
    for place, component in enumerate(label):
        groups.setdefault(int(component), []).append(place)
    return [group for group in groups.values() if len(group) > 1]


def find_candidates(prints: Sequence[Fingerprint], bits: int = HASH_BITS, track: Track = silent) -> list[Candidate]:
    """The pairs worth a closer look; arguments as in `similar_pairs`."""
    if len(prints) < 2:
        return []
    found = {Candidate(first, second, 0) for first, second in _near_hashes(prints, bits)}
    coarse = np.stack([fingerprint.coarse for fingerprint in prints]).astype(np.float32)
    shown = np.stack([fingerprint.coarse_shown for fingerprint in prints]).astype(np.float32)
    starts = range(0, len(prints), _BLOCK)
    for start in track(starts, "comparing all pairs", len(starts)):
        for orientation in range(len(ORIENTATIONS)):
            limit = TURNED_COARSE_SIMILARITY if orientation else COARSE_SIMILARITY
            turned = (
                orient(coarse[start : start + _BLOCK], orientation),
                orient(shown[start : start + _BLOCK], orientation),
            )
            for other in range(0, start + 1, _BLOCK):
                alike = _correlations((coarse[other : other + _BLOCK], shown[other : other + _BLOCK]), turned) >= limit
                for row, column in np.argwhere(alike):
                    first, second = other + int(row), start + int(column)
                    if first < second:
                        found.add(Candidate(first, second, orientation))
    return sorted(found)


def orient(pictures: NDArray[Any], orientation: int) -> NDArray[Any]:
    """The pictures (…, H, W) laid in one of the eight orientations.

    >>> orient(np.array([[1, 2], [3, 4]]), ORIENTATIONS.index("mirrored")).tolist()
    [[2, 1], [4, 3]]
    """
    return np.rot90(pictures[..., ::-1] if orientation >= 4 else pictures, orientation % 4, (-2, -1))


def _near_hashes(prints: Sequence[Fingerprint], bits: int) -> Iterator[tuple[int, int]]:
    hashes = np.array([fingerprint.hash for fingerprint in prints], np.uint64)
    for first in range(len(hashes) - 1):
        for offset in np.flatnonzero(np.bitwise_count(hashes[first + 1 :] ^ hashes[first]) <= bits):
            yield first, first + 1 + int(offset)


def _correlations(
    first: tuple[NDArray[np.float32], NDArray[np.float32]], second: tuple[NDArray[np.float32], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """The correlation of each of the first with each of the second over what both show, 0 where that is little."""
    contrast_a, shown_a, contrast_b, shown_b = (np.ascontiguousarray(x).reshape(len(x), -1) for x in first + second)
    power_a, power_b = (contrast_a**2) @ shown_b.T, shown_a @ (contrast_b**2).T
    correlation = (contrast_a @ contrast_b.T) / np.sqrt(power_a * power_b + np.float32(1e-3))
    correlation[shown_a @ shown_b.T < MIN_COMMON_SHARE * COARSE_SIDE**2] = 0
    return np.asarray(correlation, np.float32)


def _confirmed(prints: Sequence[Fingerprint], candidates: Sequence[Candidate], track: Track) -> list[SimilarPair]:
    """The candidates that are confirmed, each pair once, in its best orientation."""
    best: dict[tuple[int, int], SimilarPair] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda candidate: _confirm(prints, candidate), candidates)
        for pair in track(found, "comparing candidates", len(candidates)):
            key = pair.first, pair.second
            if pair.similarity >= SIMILARITY and (key not in best or pair.similarity > best[key].similarity):
                best[key] = pair
    return [best[key] for key in sorted(best)]


def _confirm(prints: Sequence[Fingerprint], candidate: Candidate) -> SimilarPair:
    first, second = prints[candidate.first], prints[candidate.second]
    orientation = ORIENTATIONS[candidate.orientation]
    if candidate.orientation == 0 and first.digest == second.digest:
        return SimilarPair(candidate.first, candidate.second, 1.0, orientation, is_identical=True)
    similarity = max(
        _similarity(
            (first.contrast[view], first.shown[view]),
            (orient(second.contrast[view], candidate.orientation), orient(second.shown[view], candidate.orientation)),
        )
        for view in (0, 1)
    )
    return SimilarPair(candidate.first, candidate.second, round(similarity, 4), orientation, is_identical=False)


def _similarity(first: tuple[NDArray[Any], NDArray[Any]], second: tuple[NDArray[Any], NDArray[Any]]) -> float:
    """The correlation of two pictures of local contrast, the better of as they lie and after affine alignment.

    Reference:
        Evangelidis & Psarakis, "Parametric Image Alignment Using Enhanced Correlation Coefficient Maximization",
        IEEE TPAMI 30(10), 2008.
    """
    contrast_a, shown_a, contrast_b, shown_b = (np.ascontiguousarray(x, np.float32) for x in first + second)
    as_they_lie = _correlation(contrast_a, shown_a, contrast_b, shown_b)
    soft_a, soft_b = cv2.GaussianBlur(contrast_a, (0, 0), 1), cv2.GaussianBlur(contrast_b, (0, 0), 1)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-3)
    try:
        still = np.eye(2, 3, dtype=np.float32)
        _, warp = cv2.findTransformECC(soft_a, soft_b, still, cv2.MOTION_AFFINE, stop, None, 5)
    except cv2.error:  # no alignment was found
        return as_they_lie
    if not 0.4 < float(np.linalg.det(warp[:, :2])) < 2.5:  # crumpled to a corner
        return as_they_lie
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved, moved_shown = (cv2.warpAffine(x, warp, (SIDE, SIDE), flags=flags) for x in (contrast_b, shown_b))
    return max(as_they_lie, _correlation(contrast_a, shown_a, moved, moved_shown))


def _correlation(
    contrast_a: NDArray[np.float32],
    shown_a: NDArray[np.float32],
    contrast_b: NDArray[np.float32],
    shown_b: NDArray[np.float32],
) -> float:
    common = shown_a * shown_b
    if float(common.mean()) < MIN_COMMON_SHARE:
        return 0.0
    power = float((contrast_a**2 * common).sum()) * float((contrast_b**2 * common).sum())
    return min(1.0, float((contrast_a * contrast_b * common).sum()) / float(np.sqrt(power + 1e-3)))
