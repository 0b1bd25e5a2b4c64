"""What a named path holds: an image, a video or a model, by its first bytes; its name counts where they say nothing.

Decisions:
- A video is one whatever its name: recorders write .mpg, .ts, .vob, .mxf, and names are lost. A file whose name is a
  video's is one too, so that what is wrong with it is told in a video's words.
- A picture container that begins like an mp4 (HEIC, AVIF) is no video.
- A path that looks like a model and is none that can be run is no image either: another model must not take its place.
"""

import zipfile
from pathlib import Path

from polypseg.predict.engines.hub import is_hub
from polypseg.records.paired_models import BESIDE, second_file

VIDEO_SUFFIXES = frozenset(
    [
        ".mp4",
        ".m4v",
        ".mov",
        ".qt",
        ".3gp",
        ".3g2",
        ".avi",
        ".divx",
        ".mkv",
        ".webm",
        ".mk3d",
        ".mpg",
        ".mpeg",
        ".mpe",
        ".mpv",
        ".m1v",
        ".m2v",
        ".m2p",
        ".vob",
        ".ts",
        ".mts",
        ".m2ts",
        ".m2t",
        ".tp",
        ".trp",
        ".wmv",
        ".asf",
        ".flv",
        ".f4v",
        ".ogv",
        ".ogm",
        ".mxf",
        ".nut",
        ".dv",
        ".ivf",
        ".obu",
        ".y4m",
        ".h264",
        ".264",
        ".avc",
        ".h265",
        ".265",
        ".hevc",
        ".mjpg",
        ".mjpeg",
    ]
)
"""File endings that count as a video, in lower case."""

RUNNABLE_SUFFIXES = (".onnx", ".keras")
"""File endings of models that can be run, in lower case; and those of `paired_models`, both files together."""

MODEL_SUFFIXES = frozenset(
    [
        ".h5",
        ".hdf5",
        ".hdf",
        ".xml",
        ".bin",
        ".tflite",
        ".lite",
        ".pth",
        ".pt",
        ".pt2",
        ".pth.tar",
        ".pb",
        ".pbtxt",
        ".safetensors",
        ".ckpt",
        ".weights",
        ".ort",
        ".engine",
        ".plan",
        ".trt",
        ".mlmodel",
        ".mlpackage",
        ".pkl",
        ".pickle",
        ".joblib",
        ".caffemodel",
        ".prototxt",
        ".gguf",
        ".ggml",
        ".torchscript",
        ".ptl",
        ".pte",
        ".jit",
        ".t7",
        ".mnn",
        ".param",
        ".params",
        ".pdmodel",
        ".pdiparams",
        ".pdparams",
        ".msgpack",
        ".eqx",
        ".npz",
        ".data",
        ".dlc",
        ".hef",
        ".rknn",
        ".om",
        ".uff",
        ".index",
        ".meta",
        ".state_dict",
    ]
)
"""File endings of models that cannot be run (not alone), in lower case."""

MODEL_FOLDER_FILES = ("saved_model.pb", "saved_model.pbtxt", "keras_metadata.pb", "fingerprint.pb", "checkpoint")
"""A folder that holds one of them is a model of TensorFlow."""

_HEAD_BYTES = 1 << 16
_ATOMS = (b"ftyp", b"moov", b"mdat", b"moof", b"free", b"wide", b"skip", b"pnot", b"styp", b"sidx")
_PICTURE_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"jp2 ")
_VIDEO_BEGINS = (
    b"\x1a\x45\xdf\xa3",  # Matroska, WebM
    b"\x00\x00\x01\xba",  # MPEG-PS
    b"\x30\x26\xb2\x75",  # ASF, WMV
    b"FLV\x01",
    b"OggS",
    b"YUV4MPEG2 ",
    b"DKIF",  # IVF
    b"nut/multimedia container",
    b"\x1f\x07\x00",  # DV
)
_PICTURE_BEGINS = (
    b"\xff\xd8\xff",
    b"\x89PNG",
    b"II*\0",
    b"MM\0*",
    b"II+\0",
    b"MM\0+",
    b"BM",
    b"GIF8",
    b"\x00\x00\x01\x00",
)
_MXF_KEY = b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02"
_MODEL_BEGINS = (
    b"\x89HDF\r\n\x1a\n",
    b"GGUF",
    b"\x80\x02",
    b"\x80\x03",
    b"\x80\x04",
    b"\x80\x05",
)  # HDF5, GGUF, pickle
_AFTER_VERSION = (b"\x12", b"\x1a", b"\x22", b"\x2a", b"\x32", b"\x3a", b"\x42")
"""The key of whatever follows the version in an ONNX file: who wrote it, the graph and so on."""

_MODEL_MEMBERS = ("data.pkl", "model.weights.h5", "config.json", "model.json", "constants.pkl")


def is_video(path: str) -> bool:
    """Whether a path names a video, by its content or by its ending."""
    file = Path(path)
    if file.is_dir():
        return False
    return file.suffix.lower() in VIDEO_SUFFIXES or begins_like_a_video(_head(file))


def is_unusable_model(path: str) -> bool:
    """Whether a path that is there looks like a model, and not like one that can be run."""
    file = Path(path)
    if file.is_dir():
        return _is_model_folder(file)
    if not file.is_file() or _is_named_runnable(file):
        return False
    head = _head(file)
    if head.startswith(_PICTURE_BEGINS) or begins_like_a_video(head):
        return False
    is_named = any(file.name.lower().endswith(suffix) for suffix in MODEL_SUFFIXES)
    is_onnx = head[:1] == b"\x08" and head[2:3] in _AFTER_VERSION and 3 <= head[1] <= 15
    begins_like_one = is_onnx or head.startswith(_MODEL_BEGINS) or head[4:8] == b"TFL3"
    return is_named or begins_like_one or _holds_a_model(file, head)


def is_run_folder(path: str) -> bool:
    """Whether a path is the folder of a training run, or of a group of runs."""
    folder = Path(path)
    return (
        (folder / "config.toml").is_file() or (folder / "checkpoints").is_dir() or (folder / "members.json").is_file()
    )


def is_runnable(path: str) -> bool:
    """Whether a path is named like a model that can be run, or is a run's folder, or a model's place on a hub."""
    file = Path(path)
    if is_hub(path):
        return True
    return is_run_folder(path) if file.is_dir() else _is_named_runnable(file)


def _is_named_runnable(file: Path) -> bool:
    ending = file.suffix.lower()
    return ending in RUNNABLE_SUFFIXES or (ending in BESIDE and second_file(file).is_file())


def begins_like_a_video(head: bytes) -> bool:
    """Whether these are the first bytes (some thousands) of a video.

    >>> begins_like_a_video(b"OggS and so on"), begins_like_a_video(b"#EXTM3U")
    (True, False)
    """
    if head.startswith(_PICTURE_BEGINS):
        return False
    if head[4:8] in _ATOMS:
        return not (head[4:8] == b"ftyp" and head[8:12] in _PICTURE_BRANDS)
    is_avi = head[:4] in (b"RIFF", b"RIFX") and head[8:12] in (b"AVI ", b"AVIX")
    is_mxf = _MXF_KEY in head
    return is_avi or is_mxf or head.startswith(_VIDEO_BEGINS) or _is_elementary(head) or _is_transport_stream(head)


def _is_elementary(head: bytes) -> bool:
    """Whether a raw stream begins: a start code, then a header of MPEG-1, -2, -4, H.264 or H.265."""
    content = head[:16].lstrip(b"\0")
    if not head.startswith(b"\0\0") or not content.startswith(b"\1") or len(content) < 3:
        return False
    first, second = content[1], content[2]
    is_mpeg = first in (0xB3, 0xB0, 0xB5, 0xB8)
    is_h264 = first in (0x09, 0x27, 0x47, 0x67, 0x06)
    return is_mpeg or is_h264 or (first in (0x40, 0x42, 0x44, 0x46, 0x4E) and second == 1)


def _is_transport_stream(head: bytes) -> bool:
    """Whether the byte of synchronisation comes back every 188 bytes (every 192 in .m2ts), perhaps after some rest."""
    for length in (188, 192, 204):
        for begin in range(min(length, len(head))):
            places = range(begin, min(len(head), begin + 8 * length), length)
            if len(places) >= 5 and all(head[place] == 0x47 for place in places):
                return True
    return False


def _is_model_folder(folder: Path) -> bool:
    if folder.suffix.lower() in MODEL_SUFFIXES or any((folder / name).is_file() for name in MODEL_FOLDER_FILES):
        return True
    return any((folder / f"{network.stem}.bin").is_file() for network in folder.glob("*.xml"))


def _holds_a_model(file: Path, head: bytes) -> bool:
    """Whether a ZIP archive holds what PyTorch or Keras put into one, or a file begins as safetensors do."""
    if head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < 1 << 27:
        return True
    if not head.startswith(b"PK\x03\x04"):
        return False
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return False
    return any(name.rpartition("/")[2] in _MODEL_MEMBERS for name in names)


def _head(file: Path) -> bytes:
    """The first bytes of a regular file; none of anything else."""
    try:
        if not file.is_file():
            return b""
        with file.open("rb") as opened:
            return opened.read(_HEAD_BYTES)
    except OSError:
        return b""
