"""Which files are images: their endings, their names, what the others are, and their bytes.

Decisions:
- A folder's file is an image (its ending says so), a companion (tables, texts: passed over), or something that cannot
  be read as an image here (a HEIC, a DICOM, a video, no ending): that is named, never passed over without a word.
- Only regular files of a bounded size are read: a pipe or a device would hang, or fill the memory.
- Names are Unicode. Bytes that are no UTF-8 cannot be written to tables and JSON so that they are found again.
- Two spellings of one Unicode text (é as one letter or as e with an accent) are one name: names are NFC.
"""

import stat
import struct
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from polypseg.errors import DataError, ImageError, listed
from polypseg.preprocess.damage import cut_short

IMAGE_SUFFIXES = frozenset(
    {
        ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".bmp", ".dib", ".webp", ".jp2", ".j2k", ".jpx",
        ".avif", ".gif", ".ppm", ".pgm", ".pnm",
    }
)  # fmt: skip
"""File endings that count as an image, in lower case."""

READABLE = "JPEG, PNG, TIFF, BMP, WebP, JPEG 2000, AVIF, GIF or PPM"

COMPANION_SUFFIXES = frozenset(
    {
        ".csv", ".tsv", ".txt", ".md", ".rst", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml", ".ini", ".html",
        ".htm", ".log", ".pdf", ".doc", ".docx", ".xls", ".xlsx", ".ods", ".db", ".py", ".ipynb", ".sha256", ".md5",
        ".zip", ".lst", ".names", ".license", ".onnx", ".keras", ".sh", ".bat", ".cfg", ".url", ".lnk",
    }
)  # fmt: skip
"""Endings of what may lie beside images and is none; passed over."""

COMPANION_NAMES = frozenset({"readme", "license", "licence", "changelog", "manifest", "checksums", "makefile"})

MAX_FILE_BYTES = 1 << 29
"""64 million pixels of four channels of 16 bit take as much uncompressed."""

EMPTY = "the file is empty (0 bytes); expected an image"

_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (4, b"ftyphei", "a HEIC picture"), (4, b"ftyphev", "a HEIC picture"), (4, b"ftypmif1", "a HEIF picture"),
    (4, b"ftypmsf1", "a HEIF sequence"), (128, b"DICM", "a DICOM file"), (0, b"%PDF", "a PDF"),
    (0, b"%!PS", "a PostScript file"), (0, b"\xc5\xd0\xd3\xc6", "a PostScript file"),
    (0, b"8BPS", "a Photoshop file"), (0, b"\xff\x0a", "a JPEG XL picture"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL picture"), (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"v/1\x01", "an OpenEXR picture"), (4, b"ftypavi", "a damaged AVIF picture"),
    (4, b"ftyp", "a video"), (0, b"\x1aE\xdf\xa3", "a video"),
    (8, b"AVI ", "a video"), (0, b"\x89HDF", "an HDF5 file"), (0, b"PK\x03\x04", "a ZIP archive"),
)  # fmt: skip
"""Where a file's bytes tell what it is, though it is no image that is read here."""


UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    OverflowError,
    RuntimeError,
    struct.error,
    zlib.error,
    PillowImage.DecompressionBombError,
    PillowImage.DecompressionBombWarning,
)
"""What Pillow raises on damaged files, found by feeding it some."""


def is_image_file(path: Path) -> bool:
    """Whether the ending is an image's and the file is not hidden."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def is_left_out(path: Path) -> bool:
    """Whether a file in a folder of images is neither an image nor what usually lies beside images.

    Folders and what is no regular file are not asked about: False.
    """
    return not _is_companion(path) and not is_image_file(path) and path.is_file()


def _is_companion(path: Path) -> bool:
    """Whether a file is what usually lies beside images.

    >>> [_is_companion(Path(name)) for name in ("groups.CSV", "README", "Thumbs.db", ".hidden", "a.heic", "IM0001")]
    [True, True, True, True, False, False]
    """
    return path.suffix.lower() in COMPANION_SUFFIXES or path.name.lower() in COMPANION_NAMES or path.name[0] == "."


def endings(paths: Iterable[Path]) -> str:
    """The endings of files with their numbers, the most frequent first.

    >>> endings([Path("a.heic"), Path("b.HEIC"), Path("IM1")])
    '.heic 2, no ending 1'
    """
    counts = Counter(path.suffix.lower() or "no ending" for path in paths)
    return ", ".join(f"{ending} {count}" for ending, count in counts.most_common())


def unicode_name(text: str) -> str:
    r"""The one spelling (NFC) of a name that can be written in several, as macOS and others do.

    >>> len("e\u0301"), len(unicode_name("e\u0301"))
    (2, 1)
    """
    return unicodedata.normalize("NFC", text)


def refuse_odd_names(paths: Iterable[Path | str]) -> None:
    """Nothing, unless a path is not valid UTF-8.

    Raises:
        DataError: The paths, and how to rename them.
    """
    odd = [path for path in map(str, paths) if not path.isprintable() and _has_surrogates(path)]
    if odd:
        shown = [path.encode("utf-8", "backslashreplace").decode() for path in odd]
        raise DataError(
            f"{len(odd)} file names are not valid UTF-8, so that no table can hold them; rename them, for example with "
            "convmv -r -f cp1258 -t utf-8 --notest FOLDER (cp1258: Vietnamese; cp1252: Western European):"
            f"{listed(shown)}"
        )


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def file_content(path: Path) -> bytes:
    """The bytes of a regular file.

    Raises:
        ImageError: It cannot be read, is no regular file, or too large.
    """
    try:
        check_regular(path)
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot read the file: {error.strerror}") from error


def check_regular(path: Path) -> None:
    """Nothing for a regular file of a bounded size, which is not empty.

    Raises:
        ImageError: A folder, a pipe, a device, an empty or a too large file.
        OSError: No such file.
    """
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        raise ImageError(f"{path}: cannot read the file: Is a directory; expected an image")
    if not stat.S_ISREG(found.st_mode):
        raise ImageError(f"{path}: not a regular file (a pipe, a socket or a device); expected an image")
    if found.st_size == 0:
        raise ImageError(f"{path}: {EMPTY}")
    if found.st_size > MAX_FILE_BYTES:
        raise ImageError(f"{path}: has {found.st_size:,} bytes, more than the allowed {MAX_FILE_BYTES:,}")


def kind_of(content: bytes) -> str:
    r"""What the first bytes of a file, which is no image that is read here, say that it is; empty where unknown.

    >>> kind_of(b"\0\0\0\x18ftypheic")
    'a HEIC picture'
    """
    for place, signature, kind in _SIGNATURES:
        if content[place : place + len(signature)] == signature:
            return kind
    return "an SVG drawing" if b"<svg" in content[:1024] else ""


def reason_of(error: Exception, content: bytes = b"") -> str:
    """Why a file could not be read as an image, in words; `content` is its beginning."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, UnidentifiedImageError):
        kind = kind_of(content)
        if kind == "a video":
            return f"not an image but {kind}; predict it by itself"
        if kind.startswith("a damaged"):
            return f"{kind}; copy or download it again"
        if kind:
            how = "with polypseg data dicom-frames" if kind == "a DICOM file" else f"({READABLE})"
            return f"not an image that can be read but {kind}; convert it {how}"
        return f"not an image that can be read ({READABLE}); is it damaged or wrongly named?"
    if isinstance(error, OSError) and error.errno is not None:
        return f"cannot read the file: {error.strerror}"
    if isinstance(error, PillowImage.DecompressionBombError):
        return f"has more pixels than any bound allows: {error}"
    if "truncated" in str(error).lower():
        return cut_short(str(error))
    return f"cannot be decoded: {error}"
