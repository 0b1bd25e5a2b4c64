"""DICOM files for the tests: VL Endoscopic and Video Endoscopic, with everything that tells a patient."""

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
    VideoEndoscopicImageStorage,
    VLEndoscopicImageStorage,
    generate_uid,
)

TELLING = {
    "PatientName": "Doe^Jane", "PatientID": "SECRET-4711", "PatientBirthDate": "19700101", "PatientSex": "F",
    "StudyDate": "20200102", "StudyTime": "101112", "StudyID": "SECRET-1", "AccessionNumber": "SECRET-A1",
    "ReferringPhysicianName": "SECRET^Who", "Manufacturer": "SECRET Scopes", "InstitutionName": "SECRET Hospital",
    "OperatorsName": "SECRET^Op", "DeviceSerialNumber": "SECRET-99", "StudyDescription": "SECRET study",
    "ImageComments": "SECRET comment", "PatientAddress": "SECRET street", "StationName": "SECRET-ROOM",
}  # fmt: skip


def dataset_of(frames, is_video=False, study=None):
    """An uncompressed data set of frames (N, H, W, 3) uint8."""
    made = Dataset()
    made.SOPClassUID = VideoEndoscopicImageStorage if is_video else VLEndoscopicImageStorage
    made.SOPInstanceUID, made.SeriesInstanceUID = generate_uid(), generate_uid()
    made.StudyInstanceUID = study or generate_uid()
    for keyword, value in TELLING.items():
        setattr(made, keyword, value)
    made.add(pydicom.DataElement(0x00090010, "LO", "SECRET private"))
    made.Modality, made.SeriesNumber, made.InstanceNumber = "ES", 1, 1
    made.ImageType, made.Laterality, made.PatientOrientation = ["ORIGINAL", "PRIMARY"], "", ""
    made.AcquisitionContextSequence, made.LossyImageCompression = [], "00"
    made.Rows, made.Columns, made.SamplesPerPixel, made.PlanarConfiguration = *frames.shape[1:3], 3, 0
    made.PhotometricInterpretation = "RGB"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
    if is_video:
        made.NumberOfFrames, made.FrameTime, made.FrameIncrementPointer = len(frames), 40.0, 0x00181063
    made.PixelData = frames.tobytes()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return made


def encoded(made, frames, syntax):
    """The data set in a compressed transfer syntax."""
    import io

    from PIL import Image as PillowImage

    if syntax == RLELossless:
        made.compress(RLELossless, frames, encoding_plugin="pydicom")
        return made
    contents = []
    for frame in frames:
        content = io.BytesIO()
        kind = {JPEGBaseline8Bit: "JPEG", JPEG2000Lossless: "JPEG2000"}[syntax]
        options = {"quality": 95} if kind == "JPEG" else {"irreversible": False, "no_jp2": True, "mct": 0}
        PillowImage.fromarray(frame).save(content, kind, **options)
        contents.append(content.getvalue())
    made.PixelData = encapsulate(contents)
    made["PixelData"].VR = "OB"
    made.file_meta.TransferSyntaxUID = syntax
    made.PhotometricInterpretation = "YBR_FULL_422" if syntax == JPEGBaseline8Bit else "RGB"
    return made


def save(made, path):
    """Write the data set; its path."""
    made.save_as(path, enforce_file_format=True)
    return path


def noise(num_frames, height=48, width=64, seed=0):
    """Frames of smooth random colours."""
    import cv2

    rng = np.random.default_rng(seed)
    small = rng.integers(40, 255, (num_frames, 6, 8, 3), dtype=np.uint8)
    return np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_CUBIC) for frame in small])
