"""What is written of a prediction, and where: a folder a kind, the image's name within, each file whole or not there.

Decisions:
- Pictures are PNG: what is shown is what was computed.
- A file is written under another name and renamed, so that a kill or a full disk leaves no half of one.
- No file of an input is ever replaced, whatever the options; other files only where the caller says so.
"""

import errno
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from polypseg.arrays import Probability
from polypseg.errors import DataError, UsageError, listed, plural, unknown_name
from polypseg.metrics.thresholds import to_levels
from polypseg.overlay import contour, heat_map, line_width_px
from polypseg.predict.doubt import check_budget
from polypseg.predict.images.sources import STDIN, ImageSource
from polypseg.predict.predictor import Prediction
from polypseg.records.atomic import write_bytes

KINDS = ("masks", "probabilities", "overlays", "contours", "heatmaps", "attention", "outer", "inner")
"""Folders of results."""

REVIEW = "review"
"""The folder of the frames to look at again."""

TEMPORARY_PATTERN = ".*.part*"
"""Names of files while they are written (records/atomic.py)."""

PROBABILITY_FORMATS = ("png8", "png16", "npz")
"""8-bit PNG (255 is 1), as programs that score maps take them; 16-bit PNG (65535 is 1); or NPZ with the float32 array
`probability`."""


@dataclass(frozen=True)
class OutputOptions:
    """What is written beside the masks.

    Attributes:
        probabilities: A name of `PROBABILITY_FORMATS`; None writes none.
        overlays: The image with its mask tinted and outlined.
        contours: The image with the mask's outline alone.
        heatmaps: The probability in colours over the image in grey.
        attention: The coefficients of each gate in colours over the image in grey.
        coco: The regions of all images in COCO's JSON.
        outer: The mask that misses little, where a calibration makes one.
        inner: The mask of which little is no polyp, where a calibration makes one.
        review: Share of the frames to look at again; None for none.
        review_for: What is looked for there, a name of `predict.doubt.REVIEW_FOR`.
    """

    probabilities: str | None = None
    overlays: bool = False
    contours: bool = False
    heatmaps: bool = False
    attention: bool = False
    coco: bool = False
    outer: bool = False
    inner: bool = False
    review: float | None = None
    review_for: str = "both"

    def __post_init__(self) -> None:
        """Refuse an unknown format.

        Raises:
            UsageError: Of the probabilities; or a share to review that is none.
        """
        if self.review is not None:
            check_budget(self.review, self.review_for)
        if self.probabilities is not None and self.probabilities not in PROBABILITY_FORMATS:
            raise UsageError(unknown_name("format of probabilities", self.probabilities, PROBABILITY_FORMATS))


class OutputFolder:
    """The folder of a prediction's results.

    Attributes:
        folder: Its path.
        options: What is written.
        levels: Of the gates whose attention is written.
        may_replace: Whether results of an earlier call may be replaced; as `check` was told.
    """

    def __init__(self, folder: Path, options: OutputOptions, levels: tuple[int, ...] = ()) -> None:
        self.folder, self.options = folder, options
        self.may_replace = True
        self.levels = levels if options.attention else ()

    @property
    def table_path(self) -> Path:
        """Of the table of all images."""
        return self.folder / "predictions.csv"

    def mask_path(self, name: str) -> Path:
        """Where the mask of an image is written."""
        return self._path("masks", name)

    def paths(self, name: str) -> list[Path]:
        """Every file that is written of an image."""
        options, found = self.options, [self.mask_path(name)]
        if options.probabilities is not None:
            found.append(self._path("probabilities", name, ".npz" if options.probabilities == "npz" else ".png"))
        kinds = ("overlays", "contours", "heatmaps", "outer", "inner")
        found += [self._path(kind, name) for kind in kinds if getattr(options, kind)]
        return found + [self._path("attention", f"{name}_{level}") for level in self.levels]

    def write(self, prediction: Prediction, name: str) -> None:
        """Write every file of an image; the order is that of `paths`."""
        for path, content in zip(self.paths(name), self._contents(prediction), strict=True):
            write_bytes_within(self.folder, path, content)

    def check(self, sources: Iterable[ImageSource], may_replace: bool) -> None:
        """Look, before anything is written, that nothing is lost.

        Args:
            sources: All that is to be predicted.
            may_replace: Whether results of an earlier call may be written again.

        Raises:
            DataError: An input would be replaced, a file's path is a folder of another's, or `may_replace` is False
                and there are results already.
        """
        self.may_replace, sources = may_replace, list(sources)
        targets = {path: source for source in sources for path in self.paths(source.name)}
        inputs = {Path(source.path).resolve() for source in sources if source.path != STDIN}
        places = {folder: folder.resolve() for folder in {path.parent for path in targets}}
        hit = sorted(str(path) for path in targets if places[path.parent] / path.name in inputs)
        if self.options.review is not None:
            hit += sorted(str(path) for path in inputs if path.parent == (self.folder / REVIEW).resolve())
        if hit:
            raise DataError(f"{len(hit)} inputs would be overwritten; name another folder with -o:{listed(hit)}")
        folders = sorted(str(path) for path in targets if path in places)
        if folders:
            raise DataError(f"results would be both a file and a folder; rename an image:{listed(folders)}")
        self.check_table()
        if may_replace:
            return
        there = sorted(str(path) for path in targets if path.exists())
        if there:
            raise DataError(
                f"{plural(len(there), 'file is', 'files are')} "
                "there already; write them again with --overwrite, or name another folder with "
                f"-o:{listed(there)}"
            )

    def check_table(self) -> None:
        """Nothing, if no results of another call would be replaced against the caller's will.

        Raises:
            DataError: They would.
        """
        if self.table_path.exists() and not self.may_replace:
            raise DataError(
                f"{self.folder} holds results already ({self.table_path.name}); go on with --resume, write them again "
                "with --overwrite, or name another folder with -o"
            )

    def sweep(self) -> None:
        """Remove the half-written files that a killed call left."""
        for pattern in (TEMPORARY_PATTERN, *(f"{kind}/**/{TEMPORARY_PATTERN}" for kind in KINDS)):
            for path in self.folder.glob(pattern):
                path.unlink(missing_ok=True)

    def _path(self, kind: str, name: str, ending: str = ".png") -> Path:
        return self.folder / kind / f"{name}{ending}"

    def _contents(self, prediction: Prediction) -> Iterator[bytes]:
        """The bytes of every file of an image, in the order of `paths`."""
        options, image, mask = self.options, prediction.image, prediction.mask
        yield encode_png(mask.view(np.uint8) * np.uint8(255))
        if options.probabilities is not None:
            yield encode_probability(prediction.probability, options.probabilities)
        if options.overlays:
            yield encode_png(prediction.overlay())
        if options.contours:
            yield encode_png(contour(image, mask, width_px=line_width_px(mask.shape)))
        if options.heatmaps:
            yield encode_png(heat_map(image, prediction.probability))
        if options.outer and prediction.outer is not None:
            yield encode_png(prediction.outer.view(np.uint8) * np.uint8(255))
        if options.inner and prediction.inner is not None:
            yield encode_png(prediction.inner.view(np.uint8) * np.uint8(255))
        if self.levels:
            for found in prediction.attention():
                yield encode_png(heat_map(image, found.map))


def encode_probability(probability: Probability, how: str) -> bytes:
    """The file of a map in one of `PROBABILITY_FORMATS`."""
    if how == "npz":
        return encode_npz(probability)
    return encode_png(to_levels(probability) if how == "png8" else sixteen_bits(probability))


def sixteen_bits(probability: Probability) -> NDArray[np.uint16]:
    """Probabilities as 16-bit levels, 65535 being 1; off by at most 7.7e-6.

    >>> sixteen_bits(np.array([[0, 0.5, 1]], np.float32)).tolist()
    [[0, 32768, 65535]]
    """
    return np.asarray(np.rint(probability * np.float32(65535)), np.uint16)


def encode_png(picture: NDArray[Any]) -> bytes:
    """The PNG of a grey (H, W) uint8 or uint16 or an RGB (H, W, 3) uint8 array.

    Raises:
        DataError: OpenCV cannot encode it.
    """
    turned = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture
    is_encoded, content = cv2.imencode(".png", turned)
    if not is_encoded or not len(content):
        raise DataError(f"a picture of {picture.shape} {picture.dtype} cannot be encoded as PNG; is the memory full?")
    return bytes(content)


def encode_npz(probability: Probability) -> bytes:
    """The NPZ of a map, compressed, under the name `probability`."""
    content = io.BytesIO()
    np.savez_compressed(content, probability=probability)
    return content.getvalue()


def write_mask(prediction: Prediction, path: Path) -> None:
    """Write the mask alone, black and white (0 and 255) PNG at the image's own size; its folder is made if missing."""
    write_bytes_in_one_step(path, encode_png(prediction.mask.view(np.uint8) * np.uint8(255)))


def write_bytes_in_one_step(path: Path, content: bytes) -> None:
    """Write a file so that a kill or a full disk leaves the old file or the new one; its folder is made if missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, content)


def write_bytes_within(folder: Path, path: Path, content: bytes) -> None:
    """Write a file in one step; folders between `folder`, which must be there, and it are made if missing.

    Raises:
        OSError: It cannot be written, or the folder is gone.
    """
    try:
        write_bytes(path, content)
    except FileNotFoundError:
        if not folder.is_dir():
            raise FileNotFoundError(errno.ENOENT, "the folder of the results is gone", str(folder)) from None
        for parent in [*reversed(path.relative_to(folder).parents)][1:]:  # never the folder itself
            (folder / parent).mkdir(exist_ok=True)
        write_bytes(path, content)
