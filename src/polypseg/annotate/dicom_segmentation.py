"""Masks as DICOM SEG, each of which refers to the frame that it was drawn on.

Decisions:
- highdicom builds the object: modules, references and geometry are its own. Endoscopy has no frame of reference, and
  without one highdicom knows segmentations of a single frame; a frame of a video gets a SEG of its own, which names its
  number.
- Every connected region is a segment, so that several polyps stay apart. A frame without a polyp gets none: DICOM has
  no segmentation without a segment.
- The coded type is SNOMED CT 68496003, polyp of colon.
"""

from copy import deepcopy
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from polypseg.annotate.dicom_frames import num_frames, open_dicom
from polypseg.annotate.dicom_study import read_table
from polypseg.arrays import Mask
from polypseg.data.samples import find_images, warn_of_further_pictures
from polypseg.errors import DataError, missing_extra, plural
from polypseg.formats.outlines import component_masks
from polypseg.formats.writing import new_folder
from polypseg.preprocess import MaskRule, read_mask
from polypseg.progress import Track, silent

Origin = Literal["AUTOMATIC", "SEMIAUTOMATIC", "MANUAL"]
"""Who drew the masks: a model, a model whose masks were corrected, a person."""

_PIXELS = ("PixelData", "NumberOfFrames", "FrameTime", "FrameTimeVector", "FrameIncrementPointer")


class Maker(NamedTuple):
    """Who made a segmentation.

    Attributes:
        origin: How.
        model: The name of the model; empty for a person.
        version: Of polypseg.
    """

    origin: Origin
    model: str
    version: str


def import_highdicom() -> Any:
    """The package highdicom.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import highdicom
    except ModuleNotFoundError as error:
        raise missing_extra("highdicom", "dicom") from error
    return highdicom


def write_segmentations(
    masks: Path, table: Path, out: Path, maker: Maker, rule: MaskRule, track: Track = silent
) -> tuple[int, int]:
    """Write a DICOM SEG for each mask with a polyp; how many were written, and how many masks are empty.

    Args:
        masks: A folder of mask files, called as the frames.
        table: dicom.csv, as `extract_frames` wrote it.
        out: A new or empty folder.
        maker: Who made them.
        rule: What means polyp in the mask files.
        track: Shows progress.

    Raises:
        DataError: A mask belongs to no frame of the table, has another size, or an original cannot be read.
        MissingExtraError: highdicom is not installed.
    """
    import_highdicom()
    places = read_table(table)
    paths = find_images(masks)
    strangers = [path.name for path in paths if path.stem not in places]
    if strangers:
        raise DataError(f"{table}: knows no frame called {strangers[0]}; name the masks as the frames")
    warn_of_further_pictures(paths)
    series: dict[str, str] = {}
    num_written = 0
    with new_folder(out) as folder:
        for path in track(paths, "writing DICOM SEG", len(paths)):
            original, number = places[path.stem]
            mask = read_mask(path, rule)
            if mask.any():
                num_written += 1
                segmentation(open_dicom(original), number, mask, maker, series, num_written).save_as(
                    folder / f"{path.stem}.dcm"
                )
    return num_written, len(paths) - num_written


def segmentation(source: Any, number: int, mask: Mask, maker: Maker, series: dict[str, str], instance: int) -> Any:
    """The DICOM SEG of a frame.

    Args:
        source: The data set of the original.
        number: Of the frame, counted from 1.
        mask: Shape (H, W), bool, not empty.
        maker: Who made it.
        series: The UID of the new series of each study; a new study is added.
        instance: The number within the series.

    Raises:
        DataError: The mask has another size than the frame, or the original has no such frame.
    """
    highdicom = import_highdicom()
    if mask.shape != (source.Rows, source.Columns):
        raise DataError(
            f"{source.SOPInstanceUID}: the mask is {mask.shape[0]}x{mask.shape[1]}, the frame {source.Rows}x"
            f"{source.Columns} (height x width)"
        )
    if not 1 <= number <= num_frames(source):
        raise DataError(f"{source.SOPInstanceUID}: has {plural(num_frames(source), 'frame')}, and no number {number}")
    parts = component_masks(mask)
    made = highdicom.seg.Segmentation(
        source_images=[_single_frame(source)],
        pixel_array=np.stack(parts, axis=-1)[None].astype(np.uint8),
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(highdicom, place, maker) for place in range(1, len(parts) + 1)],
        series_instance_uid=series.setdefault(str(source.StudyInstanceUID), str(highdicom.UID())),
        series_number=900,
        sop_instance_uid=highdicom.UID(),
        instance_number=instance,
        manufacturer="polypseg",
        manufacturer_model_name=maker.model or "polypseg",
        software_versions=maker.version,
        device_serial_number="0",
        content_label="POLYPS",
        series_description="Polyps",
    )
    made.PatientOrientation = source.get("PatientOrientation", "")
    if num_frames(source) > 1:
        _name_frame(made, str(source.SOPClassUID), number)
    return made


def _single_frame(source: Any) -> Any:
    """The original's header as that of a single image, of a class that highdicom takes for one."""
    from pydicom.dataset import Dataset
    from pydicom.uid import VLEndoscopicImageStorage

    dataset = Dataset(deepcopy({element.tag: element for element in source if element.keyword not in _PIXELS}))
    dataset.file_meta = source.file_meta
    if num_frames(source) > 1:
        dataset.SOPClassUID = VLEndoscopicImageStorage
    dataset.PixelData = b""
    return dataset


def _name_frame(made: Any, sop_class: str, number: int) -> None:
    """Say everywhere where the original is referred to what it is, and which of its frames is meant."""
    for element in made.iterall():
        if element.keyword == "ReferencedSOPClassUID":
            element.value = sop_class
    for groups in made.PerFrameFunctionalGroupsSequence:
        for derivation in groups.DerivationImageSequence:
            for image in derivation.SourceImageSequence:
                image.ReferencedFrameNumber = number


def _description(highdicom: Any, number: int, maker: Maker) -> Any:
    from pydicom.sr.codedict import codes

    is_manual = maker.origin == "MANUAL"
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=maker.model or "polypseg", version=maker.version, family=codes.cid7162.ArtificialIntelligence
    )
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=f"polyp {number}",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.PolypOfColon,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues[maker.origin],
        algorithm_identification=None if is_manual else algorithm,
    )
