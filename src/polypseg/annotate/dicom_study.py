"""A folder of DICOM files as a data set: frames, masks where there are segmentations, and a table of what came whence.

Decisions:
- A file is one group: frames of one video stay on one side of a split.
- A DICOM SEG that refers to a frame is its mask: segments whose label means polyp. Frames that no SEG refers to have no
  mask, so that they are not taken for frames without a polyp.
- The table dicom.csv holds what a SEG must refer to. It holds UIDs: it is no anonymous file.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from polypseg.annotate.dicom_frames import SEGMENTATION, frames, is_dicom, num_frames, open_dicom
from polypseg.arrays import Mask
from polypseg.data.annotated import ALL_LABELS, POLYP_LABELS
from polypseg.errors import DataError, plural
from polypseg.formats.writing import new_folder, write_png
from polypseg.preprocess import MaskRule
from polypseg.progress import Track, silent
from polypseg.records.atomic import write_bytes, write_text

TABLE_NAME = "dicom.csv"
COLUMNS = ("frame", "file", "sop_instance_uid", "frame_number")

Place = tuple[str, int]
"""An instance's UID and a frame's number, counted from 1."""


class Extracted(NamedTuple):
    """What came of a folder of DICOM files.

    Attributes:
        num_frames: Written as images.
        num_masks: Of them with a mask.
        passed_over: DICOM files without pixels, one line each.
    """

    num_frames: int
    num_masks: int
    passed_over: tuple[str, ...]


def extract_frames(source: Path, out: Path, rule: MaskRule, track: Track = silent) -> Extracted:
    """Write the frames of DICOM files as images/, masks/ (where there are segmentations), dicom.csv and groups.csv.

    Args:
        source: A DICOM file, or a folder of them (folders within included).
        out: A new or empty folder.
        rule: Its labels say which segments are polyps; none for the label polyp.
        track: Shows progress.

    Raises:
        DataError: There is no DICOM file, one is damaged or of an unknown kind, or a segment's label is not known.
        MissingExtraError: A package that reads them is not installed.
    """
    paths = sorted(p for p in source.rglob("*") if p.is_file() and is_dicom(p)) if source.is_dir() else [source]
    if not paths:
        raise DataError(f"{source}: holds no DICOM file")
    datasets = [(path, open_dicom(path)) for path in paths]
    masks = _segmented([(path, d) for path, d in datasets if d.get("SOPClassUID") == SEGMENTATION], rule)
    passed = [f"{path}: has no pixels" for path, dataset in datasets if "PixelData" not in dataset]
    shown = [(p, d) for p, d in datasets if "PixelData" in d and d.get("SOPClassUID") != SEGMENTATION]
    if not shown:
        raise DataError(f"{source}: none of {len(paths)} DICOM files holds an image")
    rows: list[tuple[str, Path, str, int]] = []
    num_masks = 0
    with new_folder(out) as folder:
        (folder / "images").mkdir()
        for number, (path, dataset) in enumerate(track(shown, "reading DICOM", len(shown)), 1):
            for index, image in enumerate(frames(dataset, path), 1):
                name = f"{number:04d}" + (f"_{index:06d}" if num_frames(dataset) > 1 else "")
                write_png(folder / "images" / f"{name}.png", image)
                rows.append((name, path, str(dataset.SOPInstanceUID), index))
                num_masks += _write_mask(folder, name, masks.get((str(dataset.SOPInstanceUID), index)), image.shape)
        _write_tables(folder, rows)
    return Extracted(len(rows), num_masks, tuple(passed))


def read_table(path: Path) -> dict[str, tuple[Path, int]]:
    """The file and the frame's number of each frame, by name, as `extract_frames` wrote them.

    Raises:
        DataError: It cannot be read, or is damaged.
    """
    from polypseg.records.reading import FileKind, stream_cells

    kind = FileKind("table of DICOM frames", DataError, "write it again with polypseg data dicom-frames")
    found: dict[str, tuple[Path, int]] = {}
    for frame, file, _, number in stream_cells(path, COLUMNS, kind):
        if not number.isdecimal() or frame in found:
            raise kind.damaged(path, f"the frame {frame} has no number, or is there twice")
        found[frame] = Path(file), int(number)
    return found


def _write_tables(folder: Path, rows: Sequence[tuple[str, Path, str, int]]) -> None:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows((name, path.resolve(), uid, number) for name, path, uid, number in rows)
    write_text(folder / TABLE_NAME, text.getvalue())
    write_text(folder / "groups.csv", "frame,group\n" + "".join(f"{row[0]},file-{row[0][:4]}\n" for row in rows))


def _write_mask(folder: Path, name: str, mask: Mask | None, shape: Sequence[int]) -> bool:
    if mask is None:
        return False
    if mask.shape != tuple(shape[:2]):
        raise DataError(f"{name}: its segmentation is {mask.shape}, the frame {tuple(shape[:2])} (height, width)")
    (folder / "masks").mkdir(exist_ok=True)
    write_bytes(
        folder / "masks" / f"{name}.png", cv2.imencode(".png", np.where(mask, 255, 0).astype(np.uint8))[1].tobytes()
    )
    return True


def _segmented(datasets: Sequence[tuple[Path, Any]], rule: MaskRule) -> dict[Place, Mask]:
    """The polyps of each frame that a segmentation refers to."""
    found: dict[Place, Mask] = {}
    for path, dataset in datasets:
        segments = {int(item.SegmentNumber): str(item.SegmentLabel) for item in dataset.SegmentSequence}
        wanted = _wanted(segments, rule, path)
        pixels = _segment_pixels(dataset, path)
        if len(pixels) != len(dataset.PerFrameFunctionalGroupsSequence):
            raise DataError(
                f"{path}: a segmentation with {plural(len(pixels), 'frame')}, and groups for another number"
            )
        for mask, groups in zip(pixels, dataset.PerFrameFunctionalGroupsSequence, strict=True):
            segment = _item(groups, dataset, "SegmentIdentificationSequence", path)
            for place in _places(_item(groups, dataset, "DerivationImageSequence", path)):
                is_polyp = int(segment.ReferencedSegmentNumber) in wanted
                earlier = found.get(place, np.zeros(mask.shape, bool))
                found[place] = earlier | mask if is_polyp else earlier
    return found


def _wanted(segments: Mapping[int, str], rule: MaskRule, path: Path) -> set[int]:
    """The numbers of the segments that are polyps."""
    if rule.labels:
        return {number for number, label in segments.items() if label in rule.labels or ALL_LABELS in rule.labels}
    plain = {number: label.strip().lower().rstrip(" 0123456789") for number, label in segments.items()}
    unknown = [segments[number] for number, label in plain.items() if label not in POLYP_LABELS]
    if unknown:
        raise DataError(f"{path}: which segments are polyps? It holds {', '.join(segments.values())}; say it with "
                        f'--polyp-labels "{unknown[0]}"')  # fmt: skip
    return set(segments)


def _segment_pixels(dataset: Any, path: Path) -> Any:
    from pydicom.pixels import pixel_array

    try:
        pixels = np.asarray(pixel_array(dataset)) > 0
    except Exception as error:  # pydicom names no list of what damage makes it raise
        raise DataError(f"{path}: its segmentation cannot be decoded ({' '.join(str(error).split())[:200]})") from error
    return pixels[None] if pixels.ndim == 2 else pixels


def _item(groups: Any, dataset: Any, name: str, path: Path) -> Any:
    """The item of a functional group, of one frame or shared by all."""
    for holder in (groups, dataset.get("SharedFunctionalGroupsSequence", [{}])[0]):
        if holder.get(name):
            return holder[name][0] if isinstance(holder, dict) else holder[name].value[0]
    raise DataError(f"{path}: a frame of the segmentation has no {name}; it does not say which image it belongs to")


def _places(derivation: Any) -> list[Place]:
    return [
        (str(image.ReferencedSOPInstanceUID), int(number))
        for image in derivation.SourceImageSequence
        for number in np.atleast_1d(image.get("ReferencedFrameNumber") or 1)
    ]
