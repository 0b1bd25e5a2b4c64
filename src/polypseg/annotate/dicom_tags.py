"""A DICOM file of which only the picture remains.

Decisions:
- What is kept is a list (`KEPT`), not what is removed: everything else goes, private attributes, overlays, icons and
  whatever a later standard adds. That removes all that the standard's basic profile (PS3.15, table E.1-1) names.
- UIDs are new; one study and one series of the originals stay one, within one call.
- Pixels are decoded, blanked and stored without compression, as RGB.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from polypseg.arrays import Image

KEPT = (
    "SOPClassUID",
    "Modality",
    "FrameTime",
    "FrameIncrementPointer",
    "PixelAspectRatio",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)
"""Keywords of attributes whose values are kept."""

EMPTY = (
    "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber",
    "ReferringPhysicianName", "SeriesNumber", "InstanceNumber", "Manufacturer", "Laterality", "PatientOrientation",
)  # fmt: skip
"""Keywords of attributes that must be there, and may be empty."""

METHOD = "polypseg: only the picture is kept; surround blanked"


def removed_kinds(dataset: Any) -> tuple[str, ...]:
    """The keywords of what a file tells and that will be removed; private attributes by their number."""
    told = {
        element.keyword or "unknown attribute"
        for element in dataset
        if not element.tag.is_private and element.value not in ("", None) and not _is_kept(element)
    }
    num_private = sum(element.tag.is_private for element in dataset)
    return tuple(sorted(told)) + ((f"private attributes ({num_private})",) if num_private else ())


def bare_dataset(dataset: Any, images: Sequence[Image], name: str, uids: dict[str, str], has_text: bool) -> Any:
    """A new data set with the images, and nothing else of the original but how to show them.

    Args:
        dataset: The original.
        images: Its blanked frames, (H, W, 3) uint8 each.
        name: In place of the patient's ID.
        uids: The new UID of each old study and series; new ones are added.
        has_text: Whether text may be left in a picture.
    """
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    new = Dataset()
    for keyword in KEPT:
        if keyword in dataset:
            setattr(new, keyword, dataset[keyword].value)
    for keyword in EMPTY:
        setattr(new, keyword, "" if keyword not in ("SeriesNumber", "InstanceNumber") else None)
    new.PatientID = name
    new.SOPInstanceUID = generate_uid(prefix=None)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
        setattr(new, keyword, uids.setdefault(str(dataset.get(keyword, name)), generate_uid(prefix=None)))
    new.ImageType = ["DERIVED", "PRIMARY"]
    new.AcquisitionContextSequence = []
    new.BurnedInAnnotation = "YES" if has_text else "NO"
    if "LossyImageCompression" not in new:
        new.LossyImageCompression = "00"
    _add_method(new)
    _add_pixels(new, images)
    new.file_meta = FileMetaDataset()
    new.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    new.file_meta.MediaStorageSOPClassUID, new.file_meta.MediaStorageSOPInstanceUID = (
        new.SOPClassUID,
        new.SOPInstanceUID,
    )
    return new


def _add_method(new: Any) -> None:
    from pydicom.dataset import Dataset

    new.PatientIdentityRemoved, new.DeidentificationMethod = "YES", METHOD
    codes = []
    for value, meaning in (
        ("113100", "Basic Application Confidentiality Profile"),
        ("113101", "Clean Pixel Data Option"),
    ):
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
        codes.append(code)
    new.DeidentificationMethodCodeSequence = codes


def _add_pixels(new: Any, images: Sequence[Image]) -> None:
    height, width = images[0].shape[:2]
    new.Rows, new.Columns, new.SamplesPerPixel, new.PlanarConfiguration = height, width, 3, 0
    new.PhotometricInterpretation = "RGB"
    new.BitsAllocated, new.BitsStored, new.HighBit, new.PixelRepresentation = 8, 8, 7, 0
    if len(images) > 1:
        new.NumberOfFrames = len(images)
    content = np.stack(images).tobytes()
    new.PixelData = content + b"\0" * (len(content) % 2)


def _is_kept(element: Any) -> bool:
    group_of_pixels = element.tag.group == 0x0028 or element.tag.group == 0x7FE0
    return element.keyword in KEPT or element.keyword == "NumberOfFrames" or group_of_pixels
