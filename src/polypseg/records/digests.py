"""Digests of files: whether a file still has the bytes that it had when a record was made of it."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from polypseg.errors import SplitError
from polypseg.progress import Track, silent
from polypseg.records.onnx_metadata import MODEL
from polypseg.records.reading import FileKind, check_regular
from polypseg.records.sealing import model_digest

_FILE = FileKind("file", SplitError, "expected an image or a mask")


def file_digests(paths: Sequence[Path], track: Track = silent) -> dict[Path, str]:
    """The SHA-256 of each file's bytes, in hex.

    Raises:
        SplitError: A file cannot be read.
    """

    def digest(path: Path) -> str:
        try:
            check_regular(path, _FILE)
            with path.open("rb") as opened:
                return hashlib.file_digest(opened, "sha256").hexdigest()
        except OSError as error:
            raise SplitError(f"{path}: cannot read the file: {error.strerror}") from error

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = track(pool.map(digest, paths), "reading digests", len(paths))
        return dict(zip(paths, found, strict=True))


def model_file_digest(model: Path) -> str:
    """The digest of a model's file; of a run that of its best checkpoint, of a group of runs that of its members'.

    Of an exported file without what was stored in it after its export (records/sealing.py).
    """
    if model.suffix.lower() == ".onnx" and model.is_file():
        return model_digest(model.read_bytes())
    if not model.is_dir():
        check_regular(model, MODEL)
        with model.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    if not (model / "members.json").is_file():
        return model_file_digest(model / "checkpoints" / "best.keras")
    digests = [model_file_digest(file) for file in sorted(model.glob("*/checkpoints/best.keras"))]
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()
