"""Frames of DICOM files: endoscopy images and videos, in every transfer syntax that the installed decoders know.

Decisions:
- A stream of MPEG-2, H.264 or HEVC is a video in an envelope: it is unpacked into a temporary file and read by the one
  reader of videos.
- Colours come out as RGB, whatever the file stores (YBR, a palette).
- Only 8 bits a channel are read: endoscopes store no other.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from polypseg.arrays import Image
from polypseg.errors import DataError, missing_extra
from polypseg.predict.video.frames import frames_of
from polypseg.preprocess import MAX_PIXELS
from polypseg.records.atomic import write_bytes

_SIGNATURE = slice(128, 132)
_VIDEO_SYNTAXES = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in range(100, 109))
"""MPEG-2, MPEG-4 AVC/H.264 and HEVC/H.265 (DICOM PS3.6, table A-1)."""

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
"""The SOP class of a DICOM SEG."""


def import_pydicom() -> Any:
    """The package pydicom.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import pydicom
    except ModuleNotFoundError as error:
        raise missing_extra("pydicom", "dicom") from error
    return pydicom


def is_dicom(path: Path) -> bool:
    """Whether a file's bytes say that it is DICOM."""
    try:
        with path.open("rb") as opened:
            return opened.read(132)[_SIGNATURE] == b"DICM"
    except OSError:
        return False


def open_dicom(path: Path) -> Any:
    """The data set of a DICOM file.

    Raises:
        DataError: It cannot be read.
        MissingExtraError: pydicom is not installed.
    """
    pydicom = import_pydicom()
    try:
        return pydicom.dcmread(path)
    except Exception as error:  # pydicom names no list of what damage makes it raise
        raise DataError(f"{path}: not a DICOM file, or a damaged one ({_in_short(error)}); export it again") from error


def is_video_stream(dataset: Any) -> bool:
    """Whether a data set's pixels are a stream of MPEG-2, H.264 or HEVC."""
    return str(dataset.file_meta.get("TransferSyntaxUID", "")) in _VIDEO_SYNTAXES


def num_frames(dataset: Any) -> int:
    """How many frames a data set says that it holds."""
    return int(dataset.get("NumberOfFrames") or 1)


def frames(dataset: Any, path: Path) -> Iterator[Image]:
    """The frames of a data set in order, (H, W, 3) uint8, RGB.

    Args:
        dataset: From `open_dicom`.
        path: For messages.

    Raises:
        DataError: It has no pixels, not 8 bits a channel, too many pixels, or a decoder is missing.
        MissingExtraError: PyAV is not installed, which reads video streams.
    """
    if "PixelData" not in dataset:
        raise DataError(f"{path}: a DICOM file without pixels (a report, a directory?); expected an endoscopy image")
    if int(dataset.get("Rows", 0)) * int(dataset.get("Columns", 0)) > MAX_PIXELS:
        raise DataError(f"{path}: {dataset.Rows}x{dataset.Columns} pixels are more than the allowed {MAX_PIXELS:,}")
    if is_video_stream(dataset):
        yield from _stream_frames(dataset, path)
        return
    if int(dataset.get("BitsAllocated", 0)) != 8:
        raise DataError(f"{path}: {dataset.get('BitsAllocated')} bits a channel; expected 8, as endoscopes store")
    for index in range(num_frames(dataset)):
        yield _frame(dataset, index, path)


def _frame(dataset: Any, index: int, path: Path) -> Image:
    from pydicom.pixels import apply_color_lut, pixel_array

    try:
        pixels = pixel_array(dataset, index=index)
        if dataset.PhotometricInterpretation == "PALETTE COLOR":
            pixels = np.asarray(apply_color_lut(pixels, dataset) >> 8)
    except Exception as error:  # as `open_dicom`; a missing decoder is among it, with its name
        raise DataError(f"{path}: frame {index + 1} cannot be decoded ({_in_short(error)})") from error
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
        pixels = 255 - pixels if dataset.PhotometricInterpretation == "MONOCHROME1" else pixels
    if pixels.shape[2:] != (3,):
        raise DataError(f"{path}: pixels of the shape {pixels.shape}; expected grey or RGB")
    return np.ascontiguousarray(pixels, np.uint8)


def _stream_frames(dataset: Any, path: Path) -> Iterator[Image]:
    with tempfile.TemporaryDirectory() as folder:
        stream = unpack_stream(dataset, path, Path(folder))
        with frames_of(stream) as (_, frames):
            yield from (frame.image for frame in frames if frame.image is not None)


def unpack_stream(dataset: Any, path: Path, folder: Path) -> Path:
    """Write the video of a data set into a folder; where it lies.

    Raises:
        DataError: The envelope is damaged.
    """
    from pydicom.encaps import generate_frames

    try:
        content = b"".join(generate_frames(dataset.PixelData, number_of_frames=1))
    except Exception as error:  # as `open_dicom`
        raise DataError(f"{path}: its video is damaged ({_in_short(error)}); export it again") from error
    target = folder / "stream.video"
    write_bytes(target, content)
    return target


def _in_short(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
