"""A DICOM file without anything but its picture.

Decisions:
- All frames of a file keep one shape, as those of a video do.
- A video stream (MPEG-2, H.264, HEVC) becomes a video file: its pixels would take the hundredfold without compression.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

from polypseg.annotate.anonymise_video import NUM_LOOKED_AT, anonymise_video
from polypseg.annotate.blanking import blank_frame, worst
from polypseg.annotate.dicom_frames import frames, is_video_stream, open_dicom, unpack_stream
from polypseg.annotate.dicom_tags import bare_dataset, removed_kinds
from polypseg.annotate.records import Anonymised
from polypseg.annotate.surround import blank, shape_of_many
from polypseg.errors import DataError
from polypseg.preprocess import find_field
from polypseg.records.atomic import replacing


def anonymise_dicom(source: Path, folder: Path, name: str, uids: dict[str, str], blank_text: bool) -> Anonymised:
    """Write dicom/NAME.dcm, or videos/NAME.mp4 of a video stream.

    Args:
        source: The original.
        folder: Of the new files.
        name: Of the new file.
        uids: The new UID of each old study and series; new ones are added.
        blank_text: Also blank the lines of text that are found in the picture.

    Raises:
        DataError: It cannot be read, or shows no picture.
        MissingExtraError: What reads it is not installed.
    """
    dataset = open_dicom(source)
    removed = removed_kinds(dataset)
    if is_video_stream(dataset):
        (folder / "videos").mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory() as temporary:
            stream = unpack_stream(dataset, source, Path(temporary))
            row = anonymise_video(stream, folder / "videos" / f"{name}.mp4", blank_text)
        return replace(row, kind="dicom", removed=(*removed, *row.removed))
    images = list(frames(dataset, source))
    shape = shape_of_many(images[:: max(1, len(images) // NUM_LOOKED_AT)])
    if shape is None:
        raise DataError(f"{source}: no picture was found in it (a title page, a report?); it is not written")
    shown = [find_field(image) is not None for image in images]
    found = [blank_frame(image, blank_text, shape) for image, is_shown in zip(images, shown, strict=True) if is_shown]
    kept = shape.copy()
    for one in found:
        kept &= one.kept
    blanked = [blank(image, kept & is_shown) for image, is_shown in zip(images, shown, strict=True)]
    bright, text_blanked, text_left = worst(found)
    (folder / "dicom").mkdir(exist_ok=True)
    with replacing(folder / "dicom" / f"{name}.dcm") as temporary_file:
        bare = bare_dataset(dataset, blanked, name, uids, has_text=text_left > 0)
        bare.save_as(temporary_file, enforce_file_format=True)
    percent = round(100 * float(1 - kept.mean()), 2)
    height, width = kept.shape
    return Anonymised(name, "dicom", height, width, percent, bright, text_blanked, text_left, 0, removed)
